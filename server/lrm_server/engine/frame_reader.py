"""What heads at every frame ask of a model. This module imports neither vLLM nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lrm_server.engine.protocol import EngineStatus, EngineTimings, FrameSlot


@dataclass(frozen=True, slots=True)
class ControlToken:
    """A token of the model's own in the user's turn, which no caller's text may hold.

    Attributes:
        text: as the tokeniser writes it, such as ``<|prog_token|>``.
    """

    text: str


FramePart: TypeAlias = str | FrameSlot | ControlToken


@dataclass(frozen=True, slots=True)
class FrameQuestion:
    """A turn that a model with heads over single tokens reads.

    Attributes:
        parts: texts, frames and control tokens in order.
        deadline: time.monotonic() seconds after which the answer is not wanted.
    """

    parts: tuple[FramePart, ...]
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class FrameReadings:
    """What the heads said, each in [0, 1].

    Attributes:
        progress: at each progress token, in order.
        success: probability of success at each progress token.
        preference: probability that the first trajectory of two is the better, at the
            preference token; None when the turn has none.
        prompt_tokens: tokens of the turn.
        computed_tokens: how many of them were computed; the others were known.
        timings: where the time went.
    """

    progress: tuple[float, ...]
    success: tuple[float, ...]
    preference: float | None
    prompt_tokens: int
    computed_tokens: int
    timings: EngineTimings


class FrameReader(Protocol):
    """Reads heads at every frame of a trajectory; safe to call from many tasks at once.

    A turn that begins as an earlier one did costs what it has more: append frames,
    and keep what stands before them.
    """

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the preparation of frames."""
        ...

    async def read_frames(self, question: FrameQuestion) -> FrameReadings:
        """Reads the heads at the turn's progress and preference tokens.

        Raises:
            DomainError: as an ``Engine``'s methods do. Cancelling aborts the work.
        """
        ...

    async def status(self) -> EngineStatus:
        """Asks the engine itself, not a flag beside it."""
        ...
