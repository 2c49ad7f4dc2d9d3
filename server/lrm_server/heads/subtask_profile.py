"""The profile of heads that measure progress over the subtasks of a task (arXiv 2604.00055).

Three questions are asked: a text model is asked for the subtasks, it is asked whether they
are right, and the reward model is asked how many of them are completed. A fourth, how far the
subtask at hand has come, is the question of another head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lrm_server.heads.profile import AskingProfile, Label, LabelProfile, PromptPart, Readout, Role
from lrm_server.heads.subtasks import MAX_SUBTASKS

_NOT_CONFIRMED = "no"
CONFIRMED = "yes"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WrittenAnswer(_Frozen):
    """A question that is answered with a text.

    Attributes:
        prompt: the user's turn; ``{task}``, ``{scene}`` and ``{subtasks}`` are filled in.
        max_answer_tokens: bound on what the model writes.
    """

    prompt: tuple[PromptPart, ...]
    max_answer_tokens: Annotated[int, Field(ge=1)] = 128


class ReadAnswer(WrittenAnswer):
    """A question that is answered with a label; the fields are those of ``LabelProfile``."""

    answer_key: str
    answer_prefix: str
    terminator: str
    label_mass_floor: Annotated[float, Field(ge=0, le=1)] = 0.05


class SubtaskProfile(_Frozen):
    """A head whose value is the share of a task's subtasks that is done, in [0, 1].

    Attributes:
        decompose: asks for the subtasks, as JSON.
        without_scene: what stands for ``{scene}`` where the caller describes none.
        verify: asks whether they are right; read as ``yes`` or ``no``.
        confirmed_from: least share of ``yes`` at which they are.
        completed: asks how many of them are completed, in order; read as ``0``, ``1`` and
            so on to their number.
        current: the label head that is asked about the subtask at hand, as its task.
        least: how few subtasks there may be.
        most: how many.
        required_frames: roles of frames that a query must bring.
        optional_frames: roles that it may bring.
        neutral: the head's value before its first query in an episode.
        default_readout: how ``completed`` is read where the checkpoint does not say.
    """

    name: str
    head: str
    decompose: WrittenAnswer
    without_scene: str
    verify: ReadAnswer
    confirmed_from: Annotated[float, Field(gt=0, le=1)] = 0.5
    completed: ReadAnswer
    current: str
    least: Annotated[int, Field(ge=1)] = 2
    most: Annotated[int, Field(le=MAX_SUBTASKS)] = 8
    required_frames: tuple[Role, ...] = (Role.CURRENT,)
    optional_frames: tuple[Role, ...] = (Role.INITIAL,)
    neutral: float = 0.0
    default_readout: Readout = Readout.LIKELIHOOD

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> SubtaskProfile:
        if self.least > self.most:
            raise ValueError(f"profile {self.name}: least {self.least} is above most {self.most}")
        return self

    @cached_property
    def digest(self) -> str:
        """12 hex digits that change with anything that changes an answer."""
        content = self.model_dump_json(exclude_defaults=True)
        return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()

    @cached_property
    def decomposing(self) -> AskingProfile:
        """The question for the subtasks."""
        return AskingProfile(
            name=f"{self.name}.decompose", head=self.head, **_sections(self.decompose)
        )

    @cached_property
    def verifying(self) -> LabelProfile:
        """The question whether the subtasks are right; ``yes`` is worth 1."""
        return LabelProfile(
            name=f"{self.name}.verify",
            head=self.head,
            labels=(Label(label=_NOT_CONFIRMED, value=0.0), Label(label=CONFIRMED, value=1.0)),
            **_sections(self.verify),
        )

    @cached_property
    def completing(self) -> Mapping[int, LabelProfile]:
        """By the number of subtasks, the question how many are completed.

        A label is that number, its value the share of all.
        """
        return {
            count: LabelProfile(
                name=f"{self.name}.completed",
                head=self.head,
                required_frames=self.required_frames,
                optional_frames=self.optional_frames,
                labels=tuple(
                    Label(label=str(number), value=number / count) for number in range(count + 1)
                ),
                **_sections(self.completed),
            )
            for count in range(self.least, self.most + 1)
        }


def _sections(asked: WrittenAnswer) -> dict[str, Any]:
    """The fields of a question as those of a profile."""
    return {name: getattr(asked, name) for name in type(asked).model_fields}
