"""The profile of heads that compare a frame with the task in a space of pictures and texts."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lrm_server.heads.profile import Readout, Role

TASK = "{task}"


class UnitRange(BaseModel):
    """Maps a similarity to [0, 1]: ``low`` to 0, ``high`` to 1, cut beyond."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float

    @model_validator(mode="after")
    def _ascends(self) -> UnitRange:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and must be below high, {self.high:g}")
        return self

    def value(self, similarity: float) -> float:
        """In [0, 1]."""
        return min(1.0, max(0.0, (similarity - self.low) / (self.high - self.low)))


class SimilarityProfile(BaseModel):
    """A head that is paid by how much a frame looks like the goal in words.

    Its one readout is called ``likelihood``: the model is read, and writes nothing.

    Attributes:
        reads: what is read.
        required_frames: the current frame, and the initial one for ``since_initial``.
        goal: the goal as a text; holds ``{task}``.
        baseline: the scene without its goal; "" for none.
        alpha: strength of the baseline, in [0, 1].
        since_initial: the value is the gain over the episode's initial frame, in
            [-2, 2], instead of the similarity, in [-1, 1].
        unit: maps the value to [0, 1]; None leaves it as it is.
        neutral: the head's value before its first query in an episode.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    head: str
    reads: Literal["similarity"]
    required_frames: tuple[Role, ...] = (Role.CURRENT,)
    optional_frames: tuple[Role, ...] = ()
    goal: str = TASK
    baseline: str = ""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    since_initial: bool = False
    unit: UnitRange | None = None
    neutral: float = 0.0
    default_readout: Literal[Readout.LIKELIHOOD] = Readout.LIKELIHOOD

    @model_validator(mode="after")
    def _fits_together(self) -> SimilarityProfile:
        needed = {Role.CURRENT, Role.INITIAL} if self.since_initial else {Role.CURRENT}
        if set(self.required_frames) != needed or self.optional_frames:
            names = ", ".join(sorted(role.value for role in needed))
            raise ValueError(f"profile {self.name} looks at the frames {names}, and no others")
        if TASK not in self.goal:
            raise ValueError(f"the goal of profile {self.name} does not hold {TASK}")
        if (self.alpha > 0) != bool(self.baseline):
            raise ValueError(f"profile {self.name}: a baseline and an alpha above 0 go together")
        return self

    @cached_property
    def digest(self) -> str:
        """12 hex digits that change with anything that changes an answer."""
        content = self.model_dump_json(exclude_defaults=True)
        return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()

    def texts(self, task: str) -> list[str]:
        """The goal, and the baseline if there is one; ``task`` is inserted as it is."""
        return [text.replace(TASK, task) for text in (self.goal, self.baseline) if text]
