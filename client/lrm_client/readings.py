"""What a robot's control loop is told at each tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from lrm_client.clock import Source
from lrm_client.errors import LrmError
from lrm_client.types import Reply


class NoReward(str, Enum):
    """Why a reading has no reward."""

    NOT_ANSWERED = "not_answered"
    """No step of the episode was answered yet."""
    TOO_OLD = "too_old"
    """The last reward is older than the limit, and none came after it yet."""
    UNAVAILABLE = "unavailable"
    """The server cannot be reached, refuses work, or did not answer in time."""
    FAILED = "failed"
    """The last query failed."""


class HeadReading(NamedTuple):
    """One head's reward at a tick.

    Attributes:
        reward: of ``step``, scaled; NaN where there is none.
        fresh: whether there is a reward, younger than the limit.
        step: the tick whose frame the last answer judges; None before the first.
        age_ticks: ticks from that step to this one; None before the first answer.
        age_s: seconds since ``observe`` was given that frame; None before the first answer.
        source: queried in the first reading that has the reward of ``step``, held in those
            after it; None where there is no reward.
        reply: the server's, with label and probabilities; None where there is no reward.
        reason: why there is no reward; None where there is one.
        error: the last failure since ``step``. May stand beside a fresh reward, which then
            belongs to the step before the failure.
    """

    reward: float
    fresh: bool
    step: int | None
    age_ticks: int | None
    age_s: float | None
    source: Source | None
    reply: Reply | None
    reason: NoReward | None
    error: LrmError | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest rewards at a tick; those of the first head by attribute.

    Attributes:
        tick: number of the observation, which is the episode's step; 0 is the reset.
        heads: every head's part, by name.
        max_age_s: the limit that a reward is refused above, in seconds.
    """

    tick: int
    heads: Mapping[str, HeadReading]
    max_age_s: float

    @property
    def first(self) -> HeadReading:
        """The first head's part."""
        return next(iter(self.heads.values()))

    @property
    def reward(self) -> float:
        """The first head's reward, scaled; NaN where there is none."""
        return self.first.reward

    @property
    def fresh(self) -> bool:
        """Whether the first head has a reward, younger than the limit."""
        return self.first.fresh

    @property
    def step(self) -> int | None:
        """The tick that the first head's last answer belongs to."""
        return self.first.step

    @property
    def age_ticks(self) -> int | None:
        """Ticks since ``step``."""
        return self.first.age_ticks

    @property
    def age_s(self) -> float | None:
        """Seconds since the frame of ``step`` was taken."""
        return self.first.age_s

    @property
    def source(self) -> Source | None:
        """Queried in the first reading of a reward, held after it; None where there is none."""
        return self.first.source

    @property
    def reply(self) -> Reply | None:
        """The server's reply to the first head's query, while its reward is fresh."""
        return self.first.reply

    @property
    def reason(self) -> NoReward | None:
        """Why the first head has no reward; None where it has one."""
        return self.first.reason

    @property
    def error(self) -> LrmError | None:
        """The first head's last failure since ``step``."""
        return self.first.error

    @property
    def explanation(self) -> str:
        """Why the first head has no reward, in words; empty where it has one."""
        head = self.first
        if head.reason is None:
            return ""
        if head.error is not None:
            said = f"{head.error.code}: {head.error.message}"
        elif head.step is None:
            said = "no step was answered yet"
        else:
            said = "no newer step was answered yet"
        if head.step is None:
            return said
        return (
            f"{said}; the reward of step {head.step} is {head.age_s:.2f} s old, "
            f"and the limit is {self.max_age_s:g} s"
        )


@dataclass(frozen=True, slots=True)
class SessionCounters:
    """What became of a session's frames, over all its episodes.

    Attributes:
        ticks: observations, those without a frame included.
        sent: wanted frames that were taken to be encoded and sent.
        answered: of those, the ones that every head asked answered.
        failed: of those, the others; a call that is under way is neither.
        dropped: wanted frames that were not sent, as a newer frame, a reset or the end of
            the session came first.
        overruns: ticks that the loop was late for, while ``RobotSession.rate`` paces it.
    """

    ticks: int = 0
    sent: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0
    overruns: int = 0
