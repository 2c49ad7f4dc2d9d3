"""The episode clock: which steps are queried, and which reward each step gets.

Pure functions of (configuration, state, event), without dependencies. The client
runs them to know which frames to send; the server runs the same functions with
authority. A step is taken in three moves::

    due = due_heads(config, state, step, final=final)          # whom to ask
    outcomes = {head: ask(head, previous_step(state, head), step) for head in due}
    state, rewards = advance(config, state, step, outcomes, final=final)

The state is immutable: a caller that drops the new state has taken no step.
"""

# The errors are named as the specification names them.
# ruff: noqa: N818

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple


class Hold(str, Enum):
    """What a step pays from the value that is held."""

    HOLD = "hold"
    """The held value at every step."""
    ZERO = "zero"
    """The value at steps that were queried, else 0."""
    SPREAD = "spread"
    """The held value divided by the interval, at every step."""
    DIFFERENCE = "difference"
    """The change since the last successful query, at steps that were queried, else 0."""


class Phase(str, Enum):
    """Where the multiples of the interval are counted from."""

    EPISODE = "episode"
    """From the episode's own step 0."""
    ALIGNED = "aligned"
    """From step ``-offset``, so that episodes opened at different times are due together."""


class Source(str, Enum):
    """Where the reward of a step comes from."""

    QUERIED = "queried"
    HELD = "held"
    NEUTRAL = "neutral"
    FAILED = "failed"


class ClockError(ValueError):
    """A step that the episode cannot take. The state is as before."""


class StepBehind(ClockError):
    """The step was answered before; ``expected`` is the first that was not."""

    def __init__(self, step: int, expected: int) -> None:
        super().__init__(f"step {step} is behind the episode's clock; the next step is {expected}")
        self.step = step
        self.expected = expected


class ResetMissing(ClockError):
    """A step came before step 0, which brings the initial frame."""

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step} came before step 0, which brings the initial frame")
        self.step = step
        self.expected = 0


class EpisodeOver(ClockError):
    """The episode took its final step and takes no more."""

    def __init__(self, step: int, last: int) -> None:
        super().__init__(f"step {step} came after the episode's final step {last}")
        self.step = step
        self.last = last


@dataclass(frozen=True, slots=True)
class ClockConfig:
    """What is fixed when an episode opens.

    Attributes:
        interval: K >= 1; a query is due every K steps.
        scale: finite factor alpha of every reward.
        hold: what a step pays from the held value.
        phase: where the multiples of the interval are counted from.
        offset: for ``Phase.ALIGNED``: due where (step + offset) is a multiple of K.
            Kept modulo K, and 0 for ``Phase.EPISODE``.

    Raises:
        TypeError: an interval or an offset that is no integer.
        ValueError: an interval below 1, a scale that is not finite, or an unknown mode.
    """

    interval: int = 10
    scale: float = 1.0
    hold: Hold = Hold.HOLD
    phase: Phase = Phase.EPISODE
    offset: int = 0

    def __post_init__(self) -> None:
        for name, number in (("interval", self.interval), ("offset", self.offset)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"{name} must be an integer, not {number!r}")
        if self.interval < 1:
            raise ValueError(f"interval must be at least 1, not {self.interval}")
        if not math.isfinite(self.scale):
            raise ValueError(f"scale must be finite, not {self.scale}")
        object.__setattr__(self, "hold", Hold(self.hold))
        object.__setattr__(self, "phase", Phase(self.phase))
        aligned = self.phase is Phase.ALIGNED
        object.__setattr__(self, "offset", self.offset % self.interval if aligned else 0)


class HeadState(NamedTuple):
    """What the clock remembers of one head."""

    name: str
    neutral: float
    """The head's value before its first successful query."""
    held: float | None = None
    """The value of the last successful query; None before it."""
    queried_at: int | None = None
    """The step of the last successful query; None before it."""
    overdue: bool = False
    """Whether the head's last query failed, which makes its next step due."""


class ClockState(NamedTuple):
    """Where an episode stands."""

    heads: tuple[HeadState, ...]
    step: int = -1
    """The last step that was answered; -1 before step 0."""
    ended: bool = False

    def head(self, name: str) -> HeadState:
        """The state of one head. Raises KeyError for a head that the episode has not."""
        for head in self.heads:
            if head.name == name:
                return head
        raise KeyError(name)


class HeadReward(NamedTuple):
    """One head's part of the answer to a step."""

    head: str
    reward: float | None
    """Scaled; None exactly when the source is failed."""
    value: float | None
    """The held or neutral value; None exactly when the source is failed."""
    source: Source
    age: int | None
    """Steps since the last successful query; None before it."""


_NO_OUTCOMES: Final[Mapping[str, float | None]] = MappingProxyType({})


def open_clock(neutral: Mapping[str, float]) -> ClockState:
    """The state of an episode that has taken no step.

    Args:
        neutral: the neutral value of each head, in the order of the answers.
    """
    return ClockState(tuple(HeadState(name, float(value)) for name, value in neutral.items()))


def due_heads(
    config: ClockConfig, state: ClockState, step: int, *, final: bool = False, force: bool = False
) -> tuple[str, ...]:
    """The heads that are to be queried at a step, in order; empty when none is.

    A scheduled, final or forced step is due for every head, and so is the first step
    after a scheduled one that was skipped. A head whose last query failed is due
    whatever the schedule says, by itself. Step 0 is never due.

    Raises:
        StepBehind: the step was answered before.
        ResetMissing: the step is not 0 and step 0 was not taken.
        EpisodeOver: the episode took its final step.
    """
    _check_step(state, step)
    if step == 0:
        return ()
    if final or force or _schedule_reached(config, state.step, step):
        return tuple([head.name for head in state.heads])
    return tuple([head.name for head in state.heads if head.overdue])


def previous_step(state: ClockState, head: str) -> int:
    """The step whose frame a head's next query compares with: 0, or its last successful query."""
    queried_at = state.head(head).queried_at
    return 0 if queried_at is None else queried_at


def next_query_step(config: ClockConfig, state: ClockState) -> int | None:
    """The next step that is due if no step before it is final, forced or skipped.

    None when the episode has ended.
    """
    if state.ended:
        return None
    step = max(state.step, 0)
    if any(head.overdue for head in state.heads):
        return step + 1
    return (_turns(config, step) + 1) * config.interval - config.offset


def advance(
    config: ClockConfig,
    state: ClockState,
    step: int,
    outcomes: Mapping[str, float | None] = _NO_OUTCOMES,
    *,
    final: bool = False,
) -> tuple[ClockState, tuple[HeadReward, ...]]:
    """Takes a step.

    Args:
        config: what was fixed when the episode opened.
        state: where the episode stands.
        step: greater than the last step; 0 first.
        outcomes: the value that each queried head gave, None where its query failed.
            Holds every due head; a head beyond them was forced.
        final: whether the episode ends with this step.

    Returns:
        The new state, and the heads' rewards in order; none at step 0.

    Raises:
        ClockError: as ``due_heads``.
        ValueError: a due head without an outcome, an outcome of an unknown head or at
            step 0, or a value that is not finite.
    """
    missing = [h for h in due_heads(config, state, step, final=final) if h not in outcomes]
    if missing:
        raise ValueError(f"step {step} is due for {missing[0]}, which has no outcome")
    if step == 0:
        if outcomes:
            raise ValueError("step 0 is the reset observation and takes no outcomes")
        return ClockState(state.heads, 0, final), ()
    if not outcomes:
        rewards = tuple([_rest(config, head, step) for head in state.heads])
        return ClockState(state.heads, step, final), rewards
    if unknown := outcomes.keys() - {head.name for head in state.heads}:
        raise ValueError(f"outcome of {min(unknown)}, which is no head of the episode")
    heads: list[HeadState] = []
    answers: list[HeadReward] = []
    for head in state.heads:
        if head.name in outcomes:
            after, answer = _settle(config, head, step, outcomes[head.name])
        else:
            after, answer = head, _rest(config, head, step)
        heads.append(after)
        answers.append(answer)
    return ClockState(tuple(heads), step, final), tuple(answers)


def resting_reward(config: ClockConfig, head: HeadState) -> float:
    """The reward of a step at which the head is not queried."""
    if config.hold is Hold.ZERO or config.hold is Hold.DIFFERENCE:
        return 0.0
    value = head.neutral if head.held is None else head.held
    if config.hold is Hold.SPREAD:
        value /= config.interval
    return config.scale * value


def _check_step(state: ClockState, step: int) -> None:
    if state.ended:
        raise EpisodeOver(step, state.step)
    if step <= state.step:
        raise StepBehind(step, state.step + 1)
    if state.step < 0 and step > 0:
        raise ResetMissing(step)
    if step < 0:
        raise StepBehind(step, 0)


def _turns(config: ClockConfig, step: int) -> int:
    """How many multiples of the interval the schedule has passed at a step, that step included."""
    return (step + config.offset) // config.interval


def _schedule_reached(config: ClockConfig, last: int, step: int) -> bool:
    """Whether a scheduled step lies after ``last`` and not after ``step``."""
    return _turns(config, step) > _turns(config, last)


def _rest(config: ClockConfig, head: HeadState, step: int) -> HeadReward:
    """The answer for a head that was not queried."""
    reward = resting_reward(config, head)
    if head.held is None or head.queried_at is None:
        return HeadReward(head.name, reward, head.neutral, Source.NEUTRAL, None)
    return HeadReward(head.name, reward, head.held, Source.HELD, step - head.queried_at)


def _settle(
    config: ClockConfig, head: HeadState, step: int, value: float | None
) -> tuple[HeadState, HeadReward]:
    """The head after its query, and the answer for it."""
    if value is None:
        # The held value and the frame to compare with stay, so the age grows.
        age = None if head.queried_at is None else step - head.queried_at
        return head._replace(overdue=True), HeadReward(head.name, None, None, Source.FAILED, age)
    if not math.isfinite(value):
        raise ValueError(f"{head.name} gave {value} at step {step}; a value must be finite")
    before = head.neutral if head.held is None else head.held
    after = HeadState(head.name, head.neutral, value, step)
    if config.hold is Hold.DIFFERENCE:
        reward = config.scale * (value - before)
    elif config.hold is Hold.ZERO:
        reward = config.scale * value
    else:
        reward = resting_reward(config, after)
    return after, HeadReward(head.name, reward, value, Source.QUERIED, 0)
