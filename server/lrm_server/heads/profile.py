"""Profiles: a reward head as data.

A profile says which frames a head looks at, how it asks, which labels with
which values it reads, and what counts as an answer. Profiles are YAML files;
``heads.library`` reads them. A new head should be a new profile.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lrm_server.heads.window import Window

WINDOW = "<window>"
"""Where a window's frames stand in a prompt."""


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
    """A piece of the user's turn; ``{task}``, ``<role>`` and ``<window>`` are filled in."""

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


class FromLogProbability(_Frozen):
    """The value of a head that is paid by a log-probability: (it + add) / divide, cut to [0, 1]."""

    add: float
    divide: Annotated[float, Field(gt=0)]

    def value(self, log_probability: float) -> float:
        """In [0, 1]; ``log_probability`` is natural and at most 0."""
        return min(1.0, max(0.0, (log_probability + self.add) / self.divide))


class AskingProfile(_Frozen):
    """A head that asks about a task in words and frames.

    Attributes:
        required_frames: roles of single frames that a query must bring.
        optional_frames: roles that it may bring.
        prompt: the user's turn.
        strip_text: strip the texts between frames, as some published services do.
        window: how a window of frames is looked at; None for heads of single frames.
        neutral: the head's value before its first query in an episode.
        default_readout: how it is read where the checkpoint does not say.
        max_answer_tokens: bound on what the model writes in the readouts
            ``reason_then_read`` and ``generate``.
    """

    name: str
    head: str
    required_frames: tuple[Role, ...] = ()
    optional_frames: tuple[Role, ...] = ()
    prompt: tuple[PromptPart, ...]
    strip_text: bool = False
    window: Window | None = None
    neutral: float = 0.0
    default_readout: Readout = Readout.LIKELIHOOD
    max_answer_tokens: Annotated[int, Field(ge=1)] = 128

    @model_validator(mode="after")
    def _looks_at_something(self) -> AskingProfile:
        says = any(WINDOW in part.text for part in self.prompt)
        placed = self.window is not None and self.window.place == "prompt"
        if says != placed:
            raise ValueError(
                f"profile {self.name}: {WINDOW} stands in the prompt if and only if there is a "
                "window whose place is prompt"
            )
        return self

    @cached_property
    def digest(self) -> str:
        """12 hex digits that change with anything that changes an answer."""
        return _digest(self)


class LabelProfile(AskingProfile):
    """A head that asks one question and reads one label.

    Attributes:
        answer_key: key of the JSON object that a written answer is; "" for an answer
            that is a line: ``answer_prefix`` and the label.
        answer_prefix: what stands before the label.
        terminator: what closes a label.
        slot: whose turn the answer stands in: ``user`` for questions that the model
            goes on writing itself.
        normalise: ``labels``: the probabilities are shares of the labels' sum;
            ``vocabulary``: the only label's probability is the model's own.
        paid_by_log_probability: how it becomes the value; for ``vocabulary`` alone.
        pair: for two-frame heads, the roles of its two frames; ``swap`` asks
            with the frames exchanged, and both must have one size.
        label_mass_floor: least share of the model's probability on the labels
            for an answer to count, in [0, 1].
    """

    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    answer_key: str = ""
    answer_prefix: str = ""
    terminator: str = ""
    slot: Literal["assistant", "user"] = "assistant"
    normalise: Literal["labels", "vocabulary"] = "labels"
    paid_by_log_probability: FromLogProbability | None = None
    label_mass_floor: Annotated[float, Field(ge=0, le=1)] = 0.05
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

    @model_validator(mode="after")
    def _is_paid_by_one_thing(self) -> LabelProfile:
        by_vocabulary = self.normalise == "vocabulary"
        if by_vocabulary != (self.paid_by_log_probability is not None):
            raise ValueError(
                f"profile {self.name}: normalise vocabulary and paid_by_log_probability go together"
            )
        if by_vocabulary and (len(self.labels) != 1 or self.label_mass_floor != 0):
            raise ValueError(
                f"profile {self.name}: normalise vocabulary reads one label, however improbable: "
                "give one label and a label_mass_floor of 0"
            )
        return self

    @property
    def readouts(self) -> tuple[Readout, ...]:
        """How this head can be read."""
        if self.slot == "user" or self.normalise == "vocabulary":
            return (Readout.LIKELIHOOD,)
        if not self.answer_prefix:
            return (Readout.LIKELIHOOD, Readout.GENERATE)
        return tuple(Readout)

    @property
    def answer_stop(self) -> str:
        """Where a model that writes by itself is stopped: the answer's key, if the prefix has it.

        Spaces before the key and how many objects came before are the model's own.
        """
        key = f'"{self.answer_key}":'
        return key if key in self.answer_prefix else self.answer_prefix

    @property
    def values(self) -> dict[str, float]:
        """Label -> value, in the profile's order."""
        return {label.label: label.value for label in self.labels}


class SequenceProfile(AskingProfile):
    """A head that asks for a percentage of every frame of a window (GVL, arXiv 2411.04549).

    It is read by what the model writes: a JSON object whose ``answer_key`` holds a whole
    number of 0 to 100 for each frame, in the order in which the frames were shown.
    """

    window: Window
    answer_key: str
    default_readout: Literal[Readout.GENERATE] = Readout.GENERATE


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


def _digest(profile: BaseModel) -> str:
    # What stands at its default is left out, so that a new option changes no older profile.
    content = profile.model_dump_json(exclude_defaults=True)
    return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()
