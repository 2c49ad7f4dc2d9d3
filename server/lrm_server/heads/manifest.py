"""A checkpoint's manifest: which heads it serves, how they are read, its canary.

The manifest is ``lrm.yaml`` beside the weights. A checkpoint without one serves
the built-in heads with their profiles' own readouts, and has no canary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrm_server.errors import DomainError, invalid
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.composite import composite_head
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.library import Profile, built_in_names, load_profile, parse_profile
from lrm_server.heads.profile import CompositeProfile, LabelProfile, Readout, Role
from lrm_server.heads.subtask_profile import SubtaskProfile

MANIFEST_NAME = "lrm.yaml"
WRITING = ("lrm_contrastive", "lrm_progress", "lrm_completion", "lrm_tri")
"""Profiles of a checkpoint that writes and says nothing else: LRM's."""
ROBOMETER = ("robometer_progress", "robometer_success", "robometer_preference")
SIMILARITY = ("clip_similarity",)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HeadEntry(_Frozen):
    """How one head is served.

    Attributes:
        profile: name of a profile.
        readout: default readout; the profile's when None.
        adapter: name of the adapter that answers; base weights when None.
        window: options of the profile's window that this checkpoint wants otherwise,
            such as ``place`` or ``max_frames``.
    """

    profile: str
    readout: Readout | None = None
    adapter: str | None = None
    window: dict[str, Any] = Field(default_factory=dict)


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


def default_manifest(model_id: str, profiles: Sequence[str] = WRITING) -> Manifest:
    """The heads of these built-in profiles, for a checkpoint that brings no manifest."""
    return Manifest(
        id=model_id,
        description="A checkpoint without a manifest: its heads were not verified by a canary.",
        heads={load_profile(name).head: HeadEntry(profile=name) for name in profiles},
    )


def with_heads(manifest: Manifest, names: Sequence[str], profiles: Path | None = None) -> Manifest:
    """The manifest with these heads alone.

    Args:
        manifest: of the checkpoint.
        names: of its heads, or of profiles, whose heads it does not name.
        profiles: folder of further profiles.

    Raises:
        DomainError: INVALID_ARGUMENT of ``heads`` for a name that is neither.
    """
    chosen: dict[str, HeadEntry] = {}
    for name in names:
        if name in manifest.heads:
            chosen[name] = manifest.heads[name]
            continue
        try:
            chosen[load_profile(name, profiles).head] = HeadEntry(profile=name)
        except DomainError as error:
            known = ", ".join(dict.fromkeys([*manifest.heads, *built_in_names()]))
            raise invalid(
                "heads", f"{name!r} is no head of the checkpoint and no profile: {known}."
            ) from error
    answering = {entry.adapter or name for name, entry in chosen.items()}
    adapters = {name: where for name, where in manifest.adapters.items() if name in answering}
    return manifest.model_copy(update={"heads": chosen, "adapters": adapters})


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
    loaded = {name: profile_of(name, entry, profiles) for name, entry in manifest.heads.items()}
    heads = []
    for name, entry in manifest.heads.items():
        profile = loaded[name]
        if entry.adapter is not None and entry.adapter not in adapters:
            raise invalid(
                "manifest", f"head {name} wants adapter {entry.adapter}, which is not given."
            )
        adapter = entry.adapter or (name if name in adapters else None)
        if isinstance(profile, CompositeProfile):
            heads.append(composite_head(name, profile, loaded, entry.readout))
        elif isinstance(profile, SubtaskProfile):
            heads.append(_over_subtasks(name, profile, loaded, entry, adapter))
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
                    labels=(
                        profile.values if isinstance(profile, LabelProfile | FrameProfile) else {}
                    ),
                )
            )
    if idle := set(adapters) - {head.adapter for head in heads}:
        raise invalid("adapters", f"adapter {min(idle)} answers no head: name it after one.")
    return heads


def profile_of(head: str, entry: HeadEntry, folder: Path | None) -> Profile:
    """The profile of a head, with the options that the manifest gives its window.

    Raises:
        DomainError: INVALID_ARGUMENT of ``manifest`` for options of a window that is none, or
            of a profile that there is not.
    """
    profile = load_profile(entry.profile, folder)
    if not entry.window:
        return profile
    document = profile.model_dump(mode="json", exclude_unset=True)
    if not isinstance(document.get("window"), dict):
        raise invalid("manifest", f"head {head} has window options, and looks at no window.")
    document["window"] |= entry.window
    return parse_profile(document, f"{entry.profile} with the window of head {head}")


def _over_subtasks(
    name: str,
    profile: SubtaskProfile,
    loaded: Mapping[str, Profile],
    entry: HeadEntry,
    adapter: str | None,
) -> ServedHead:
    inner = loaded.get(profile.current)
    if not isinstance(inner, LabelProfile) or inner.window is not None:
        raise invalid(
            "manifest",
            f"head {name} asks head {profile.current} about the subtask at hand, and it is no "
            "label head of single frames here: serve it too.",
        )
    if not all(0.0 <= value <= 1.0 for value in inner.values.values()):
        raise invalid(
            "manifest",
            f"head {name} adds up what {profile.current} says, whose values are not in [0, 1].",
        )
    required = (*profile.required_frames, *inner.required_frames)
    return ServedHead(
        name=name,
        profile=profile,
        readout=entry.readout or profile.default_readout,
        adapter=adapter,
        neutral=profile.neutral,
        required_frames=tuple(dict.fromkeys(required)),
        optional_frames=tuple(role for role in profile.optional_frames if role not in required),
    )
