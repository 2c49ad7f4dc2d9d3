"""A checkpoint's manifest: which heads it serves, how they are read, its canary.

The manifest is ``lrm.yaml`` beside the weights. A checkpoint without one serves
the built-in heads with their profiles' own readouts, and has no canary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrm_server.errors import invalid
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.profile import (
    CompositeProfile,
    LabelProfile,
    Profile,
    Readout,
    Role,
    built_in_names,
    load_profile,
)

MANIFEST_NAME = "lrm.yaml"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HeadEntry(_Frozen):
    """How one head is served.

    Attributes:
        profile: name of a profile.
        readout: default readout; the profile's when None.
        adapter: name of the adapter that answers; base weights when None.
    """

    profile: str
    readout: Readout | None = None
    adapter: str | None = None


class CanaryQuery(_Frozen):
    """A query whose answer is known.

    Attributes:
        head: which head is asked.
        task: the task in words.
        frames: role -> image file (JPEG or PNG), relative to the manifest.
        probabilities: label -> probability, as the checkpoint gave it when it
            was made.
    """

    head: str
    task: str
    frames: dict[Role, str]
    probabilities: dict[str, Annotated[float, Field(ge=0, le=1)]]


class Canary(_Frozen):
    """Queries that are asked before readiness.

    Attributes:
        tolerance: largest difference in probability that still passes; number
            types and machines differ by hundredths.
    """

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.1
    queries: tuple[CanaryQuery, ...]


class Manifest(_Frozen):
    """What lies beside the weights.

    Attributes:
        id: the model's public name.
        description: on what it was trained and how well it does.
        heads: head -> how it is served.
        adapters: adapter -> folder (relative to the manifest) or hub name.
        canary: asked before readiness.
    """

    id: str
    description: str = ""
    heads: dict[str, HeadEntry]
    adapters: dict[str, str] = Field(default_factory=dict)
    canary: Canary | None = None


def read_manifest(path: Path) -> Manifest:
    """A manifest from its file.

    Raises:
        DomainError: INVALID_ARGUMENT of ``manifest`` naming each wrong field.
    """
    if not path.is_file():
        raise invalid("manifest", f"there is no manifest {path}.")
    try:
        return Manifest.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
            for item in error.errors()
        )
        raise invalid("manifest", f"{path} is not a manifest: {wrong}") from error
    except yaml.YAMLError as error:
        raise invalid("manifest", f"{path} is not YAML: {error}") from error


def default_manifest(model_id: str) -> Manifest:
    """The built-in heads, for a checkpoint that brings no manifest."""
    profiles = [load_profile(name) for name in built_in_names()]
    return Manifest(
        id=model_id,
        description="A checkpoint without a manifest: its heads were not verified by a canary.",
        heads={profile.head: HeadEntry(profile=profile.name) for profile in profiles},
    )


def served_heads(
    manifest: Manifest, adapters: Mapping[str, object], profiles: Path | None = None
) -> list[ServedHead]:
    """The heads of a manifest with their profiles.

    Args:
        manifest: whose heads are served.
        adapters: names of the adapters that are loaded. A head that names none
            is answered by the adapter of its own name, if there is one.
        profiles: folder of further profiles.

    Raises:
        DomainError: INVALID_ARGUMENT of ``manifest`` for a head whose adapter is
            not loaded, a profile of another head, or a part that is not served.
    """
    loaded = {name: load_profile(entry.profile, profiles) for name, entry in manifest.heads.items()}
    heads = []
    for name, entry in manifest.heads.items():
        profile = loaded[name]
        if entry.adapter is not None and entry.adapter not in adapters:
            raise invalid(
                "manifest", f"head {name} wants adapter {entry.adapter}, which is not given."
            )
        adapter = entry.adapter or (name if name in adapters else None)
        if isinstance(profile, CompositeProfile):
            heads.append(_composite(name, profile, loaded, entry))
        else:
            heads.append(
                ServedHead(
                    name=name,
                    profile=profile,
                    readout=entry.readout or profile.default_readout,
                    adapter=adapter,
                    neutral=profile.neutral,
                    required_frames=profile.required_frames,
                    optional_frames=profile.optional_frames,
                    labels=profile.values,
                )
            )
    if idle := set(adapters) - {head.adapter for head in heads}:
        raise invalid("adapters", f"adapter {min(idle)} answers no head: name it after one.")
    return heads


def _composite(
    name: str, profile: CompositeProfile, loaded: Mapping[str, Profile], entry: HeadEntry
) -> ServedHead:
    required: list[Role] = []
    optional: list[Role] = []
    neutral = 0.0
    readout = entry.readout
    for part in profile.components:
        inner = loaded.get(part.head)
        if not isinstance(inner, LabelProfile):
            raise invalid(
                "manifest", f"head {name} is made of {part.head}, which is no label head here."
            )
        required += [role for role in inner.required_frames if role not in required]
        optional += [role for role in inner.optional_frames if role not in optional]
        neutral += part.weight * part.rescaled(inner.neutral)
        readout = readout or inner.default_readout
    return ServedHead(
        name=name,
        profile=profile,
        readout=readout or Readout.LIKELIHOOD,
        neutral=neutral,
        required_frames=tuple(required),
        optional_frames=tuple(role for role in optional if role not in required),
    )
