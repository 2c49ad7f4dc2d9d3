"""Steps whose call broke off, so that the server may or may not have taken them.

A doubtful step is asked for again by its request id, without its frame, in the message
that brings the next step. A server that took it repeats its answer, and the clock takes
that over. One that did not take it refuses, as the step is due and has no frame: it has
then failed on both sides, nothing has advanced, and the next step compares with what the
doubtful one would have. Its reward was reported as failed and stays so in either case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from lrm_client.answers import read_answer
from lrm_client.clock import ClockConfig, ClockState, advance
from lrm_client.episode_clocks import NOT_RESET
from lrm_client.errors import EpisodeEnded, EpisodeNotFound, FrameRequired, LrmError, StepBehind
from lrm_client.types import EpisodeStep, StepReply

MAX_DOUBTS: Final = 2
"""Doubtful steps of an episode that are remembered, with their frames."""


class Doubt(NamedTuple):
    """A doubtful step as it was sent, and the heads that it was due for."""

    step: EpisodeStep
    due: tuple[str, ...]


class Settled(NamedTuple):
    """A doubtful step that the server has taken, and its values by queried head."""

    step: EpisodeStep
    values: Mapping[str, float | None]


@dataclass(slots=True)
class Doubts:
    """The doubtful steps of one environment since the last that was answered.

    Of more than ``MAX_DOUBTS`` the first and the last are kept: in an outage the first may
    have been taken before it, and the last when it was over.
    """

    before: ClockState = NOT_RESET
    """The clock before the first of them."""
    steps: list[Doubt] = field(default_factory=list)

    def add(self, before: ClockState, doubt: Doubt) -> None:
        """Remembers a step whose fate is unknown, and the clock before it."""
        if not self.steps:
            self.before = before
        if len(self.steps) == MAX_DOUBTS:
            self.steps.pop()
        self.steps.append(doubt)

    def questions(self) -> list[EpisodeStep]:
        """What asks the server for the answers that it gave, if any."""
        return [replace(doubt.step, frame=None, force=True) for doubt in self.steps]

    def settle(
        self, config: ClockConfig, now: ClockState, answers: Sequence[StepReply | LrmError]
    ) -> tuple[ClockState, list[Settled]]:
        """Takes over what the server answered; what it refused was never taken.

        Args:
            config: of the clock.
            now: the clock, on which the doubtful steps have failed.
            answers: to ``questions``, in their order.

        Returns:
            The clock at the same step, and the steps that were taken.
        """
        state, taken, unknown = self.before, list[Settled](), list[Doubt]()
        heads = [head.name for head in now.heads]
        for doubt, answer in zip(self.steps, answers, strict=True):
            if isinstance(answer, LrmError):
                if is_doubtful(answer):
                    unknown.append(doubt)
                continue
            values = read_answer(heads, doubt.due, answer).values
            state, _ = advance(config, state, doubt.step.step, values)
            taken.append(Settled(doubt.step, values))
        self.before, self.steps = state, unknown
        # The step after a doubtful one is due for every head, so none need be overdue.
        return (state._replace(step=now.step) if taken else now), taken


def is_doubtful(answer: StepReply | LrmError) -> bool:
    """Whether the step may have been taken although there is no answer to it.

    Whatever is no refusal by the episode itself: a call that was refused at the door may
    have been preceded by one whose reply was lost.
    """
    refusals = StepReply | FrameRequired | StepBehind | EpisodeNotFound | EpisodeEnded
    return not isinstance(answer, refusals)
