"""Profiles: a reward head as data.

A profile says which frames a head looks at, how it asks, which labels with
which values it reads, and what counts as an answer. Profiles are YAML files;
the built-in ones lie in ``heads/profiles``. A new head should be a new profile.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lrm_server.errors import invalid


class Role(str, Enum):
    """What a frame is to the question."""

    INITIAL = "initial"
    PREVIOUS = "previous"
    CURRENT = "current"
    GOAL = "goal"


class Readout(str, Enum):
    """How the answer is read."""

    LIKELIHOOD = "likelihood"
    REASON_THEN_READ = "reason_then_read"
    GENERATE = "generate"


class Use(str, Enum):
    """Which number becomes the reward: the label's value or the expectation."""

    LABEL = "label"
    EXPECTED = "expected"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptPart(_Frozen):
    """A piece of the user's turn; ``{task}`` and ``<role>`` are filled in."""

    text: str
    when: Role | None = None
    unless: Role | None = None


class Label(_Frozen):
    """One answer: its public name, how the model writes it, what it is worth."""

    label: str
    text: str = ""
    value: float

    @property
    def written(self) -> str:
        """What the model writes for this label."""
        return self.text or self.label


class Component(_Frozen):
    """A part of a composite head: weight x rescaled value."""

    head: str
    weight: Annotated[float, Field(gt=0)]
    rescale: Literal["none", "signed_to_unit"] = "none"

    def rescaled(self, value: float) -> float:
        """``value`` as it enters the sum: unchanged, or from [-1, 1] to [0, 1]."""
        return (value + 1.0) / 2.0 if self.rescale == "signed_to_unit" else value


class LabelProfile(_Frozen):
    """A head that asks one question and reads one label.

    Attributes:
        pair: for two-frame heads, the roles of its two frames; ``swap`` asks
            with the frames exchanged, and both must have one size.
        label_mass_floor: least share of the model's probability on the labels
            for an answer to count, in [0, 1].
        max_answer_tokens: bound on what the model writes in the readouts
            ``reason_then_read`` and ``generate``.
    """

    name: str
    head: str
    required_frames: tuple[Role, ...]
    optional_frames: tuple[Role, ...] = ()
    prompt: tuple[PromptPart, ...]
    strip_text: bool = False
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    neutral: float = 0.0
    answer_key: str
    answer_prefix: str
    terminator: str
    label_mass_floor: Annotated[float, Field(ge=0, le=1)] = 0.05
    default_readout: Readout = Readout.LIKELIHOOD
    max_answer_tokens: Annotated[int, Field(ge=1)] = 128
    pair: tuple[Role, Role] | None = None
    margin: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @model_validator(mode="after")
    def _labels_differ(self) -> LabelProfile:
        for what in ("label", "written"):
            names = [getattr(label, what) for label in self.labels]
            if len(set(names)) != len(names):
                raise ValueError(f"labels of profile {self.name} are not distinct: {names}")
        if self.pair is not None and len(self.labels) != 2:
            raise ValueError(f"profile {self.name} compares a pair and needs two labels")
        return self

    @property
    def answer_stop(self) -> str:
        """Where a model that writes by itself is stopped: the answer's key, if the prefix has it.

        Spaces before the key and how many objects came before are the model's own.
        """
        key = f'"{self.answer_key}":'
        return key if key in self.answer_prefix else self.answer_prefix

    @cached_property
    def digest(self) -> str:
        """12 hex digits that change with anything that changes an answer."""
        return _digest(self)

    @property
    def values(self) -> dict[str, float]:
        """Label -> value, in the profile's order."""
        return {label.label: label.value for label in self.labels}


class CompositeProfile(_Frozen):
    """A head made of other heads: the weighted sum of their rescaled values."""

    name: str
    head: str
    components: Annotated[tuple[Component, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> CompositeProfile:
        total = sum(part.weight for part in self.components)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"weights of profile {self.name} sum to {total:g}, not 1")
        return self

    @cached_property
    def digest(self) -> str:
        """12 hex digits of the composition; the parts have digests of their own."""
        return _digest(self)


Profile = LabelProfile | CompositeProfile


def _digest(profile: BaseModel) -> str:
    return hashlib.blake2b(profile.model_dump_json().encode(), digest_size=6).hexdigest()


def parse_profile(document: Any, origin: str) -> Profile:
    """A profile from a parsed YAML document.

    Raises:
        DomainError: INVALID_ARGUMENT naming ``origin`` and each wrong field.
    """
    kind = (
        CompositeProfile
        if isinstance(document, dict) and "components" in document
        else LabelProfile
    )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
            for item in error.errors()
        )
        raise invalid("profile", f"{origin} is not a profile: {wrong}") from error


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
