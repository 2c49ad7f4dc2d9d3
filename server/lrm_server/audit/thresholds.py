"""What figures are held to: read from data, each with its reason."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "thresholds.yaml"


class ThresholdsError(ValueError):
    """Thresholds that cannot be used; names each wrong entry."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Definition(_Strict):
    """A number that a check's meaning rests on, and why it is what it is."""

    value: float
    reason: str


class Limit(_Strict):
    """What one measure is held to.

    Attributes:
        warn: beyond it the verdict is a warning; None never warns.
        fail: beyond it the verdict is a failure; None never fails.
        worse: the side on which figures are bad.
        judged: which number is compared: the figure or an end of its interval.
        reason: where the thresholds come from.
    """

    warn: float | None = None
    fail: float | None = None
    worse: Literal["above", "below"]
    judged: Literal["figure", "low", "high"] = "figure"
    reason: str


class Thresholds(_Strict):
    """All definitions and limits, by name."""

    definitions: dict[str, Definition]
    measures: dict[str, Limit]

    def __getitem__(self, definition: str) -> float:
        return self.definitions[definition].value


@lru_cache
def default_thresholds() -> Thresholds:
    """The thresholds that ship with the package."""
    return Thresholds.model_validate(_shipped())


def read_thresholds(path: Path) -> Thresholds:
    """The default thresholds with a file's entries in place of theirs.

    The file has the layout of the default one and holds only what differs: ``warn: null`` takes a
    threshold away, a definition may be a bare number.

    Raises:
        ThresholdsError: the file cannot be read, or an entry is unknown or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ThresholdsError(f"{path} cannot be read as YAML: {error}") from error
    merged = _shipped()
    try:
        _merge(merged, content)
        return Thresholds.model_validate(merged)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise ThresholdsError(f"{path}: {wrong}") from error
    except ThresholdsError as error:
        raise ThresholdsError(f"{path}: {error}") from error


def _shipped() -> dict[str, dict[str, dict[str, Any]]]:
    text = resources.files("lrm_server.audit").joinpath(FILE).read_text("utf-8")
    shipped: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(text)
    return shipped


def _merge(target: dict[str, dict[str, dict[str, Any]]], content: object) -> None:
    for part, entries in _mapping(content, "the file").items():
        if part not in target:
            raise ThresholdsError(f"{part} is not a part; {', '.join(target)} are")
        for name, entry in _mapping(entries, part).items():
            if name not in target[part]:
                known = ", ".join(target[part])
                raise ThresholdsError(f"{part}.{name} is unknown; there are {known}")
            bare = part == "definitions" and not isinstance(entry, dict)
            fields = {"value": entry} if bare else _mapping(entry, f"{part}.{name}")
            target[part][name] = {**target[part][name], **fields}


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ThresholdsError(f"{where} must be a mapping of names, not {value!r}")
    return value
