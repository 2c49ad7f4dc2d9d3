"""Profiles by name: the kinds there are, the built-in files, a folder of further ones."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lrm_server.errors import invalid
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.profile import CompositeProfile, LabelProfile, SequenceProfile
from lrm_server.heads.similarity_profile import SimilarityProfile
from lrm_server.heads.subtask_profile import SubtaskProfile

Profile = (
    LabelProfile
    | SequenceProfile
    | CompositeProfile
    | SubtaskProfile
    | FrameProfile
    | SimilarityProfile
)


def parse_profile(document: Any, origin: str) -> Profile:
    """A profile from a parsed YAML document.

    Raises:
        DomainError: INVALID_ARGUMENT naming ``origin`` and each wrong field.
    """
    try:
        return _kind_of(document).model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
            for item in error.errors()
        )
        raise invalid("profile", f"{origin} is not a profile: {wrong}") from error


def _kind_of(document: Any) -> type[Profile]:
    """Which kind a document means, by the keys that only one kind has."""
    if not isinstance(document, dict) or "labels" in document:
        return LabelProfile
    if "components" in document:
        return CompositeProfile
    if "decompose" in document:
        return SubtaskProfile
    if "reads" in document:
        return SimilarityProfile if document["reads"] == "similarity" else FrameProfile
    return SequenceProfile if "window" in document else LabelProfile


def load_profile(name: str, folder: Path | None = None) -> Profile:
    """The profile of this name: ``folder/name.yaml`` where it exists, else a built-in one.

    Raises:
        DomainError: INVALID_ARGUMENT when there is none, naming those there are.
    """
    if folder is not None and (folder / f"{name}.yaml").is_file():
        path = folder / f"{name}.yaml"
        return parse_profile(yaml.safe_load(path.read_text("utf-8")), str(path))
    built_in = resources.files("lrm_server.heads") / "profiles" / f"{name}.yaml"
    if "/" in name or not built_in.is_file():
        raise invalid(
            "profile", f"there is no profile {name!r}: built in are {', '.join(built_in_names())}."
        )
    return parse_profile(yaml.safe_load(built_in.read_text("utf-8")), name)


def built_in_names() -> list[str]:
    """Names of the profiles that come with the package."""
    folder = resources.files("lrm_server.heads") / "profiles"
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )
