"""What a step of one environment or of N returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lrm_client.clock import Source
from lrm_client.errors import LrmError
from lrm_client.types import Reply

SOURCE_DTYPE: Final = np.dtype("<U7")

FailurePolicy: TypeAlias = Literal["raise", "hold", "mask"]
"""What a step returns for a head that failed: an exception, the last good reward, or NaN.

The reward that ``hold`` returns is marked invalid, as is the NaN of ``mask``.
"""

FAILURE_POLICIES: Final = ("raise", "hold", "mask")


class StepOf(NamedTuple):
    """The step that an environment took."""

    environment: int
    episode: str
    """Id of the episode."""
    step: int


class HeadStep(NamedTuple):
    """One head's reward at a step.

    Attributes:
        reward: scaled. Where the head failed: the last good reward for ``hold``, else NaN.
        valid: False exactly where the head failed.
        value: the held value; None where the head failed.
        source: where the reward comes from.
        age: steps since the value was queried; None before the first query.
        reply: the server's reply, at a step that was queried.
        error: why the head failed.
    """

    reward: float
    valid: bool
    value: float | None
    source: Source
    age: int | None
    reply: Reply | None = None
    error: LrmError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HeadRewards:
    """One head's rewards of a step.

    Attributes:
        rewards: float32 (N,), scaled. Where the head failed: the last good reward or NaN,
            as the failure policy says. NaN for an environment that took no step.
        valid: bool (N,): whether the reward is one that the clock gave.
        source: str (N,): queried, held, neutral or failed; empty where no step was taken.
        values: float32 (N,): the held values; NaN where ``valid`` is False.
        age: int32 (N,): steps since the value was queried; -1 before the first query.
        replies: the server's replies by environment, at those that were queried.
        errors: why a head failed, by environment.
    """

    rewards: NDArray[np.float32]
    valid: NDArray[np.bool_]
    source: NDArray[np.str_]
    values: NDArray[np.float32]
    age: NDArray[np.int32]
    replies: Mapping[int, Reply]
    errors: Mapping[int, LrmError]


@dataclass(frozen=True, slots=True, eq=False)
class Rewards:
    """A step's rewards: those of the head that pays, and those of every head.

    Attributes:
        rewards: float32 (N,), of the paying head.
        valid: bool (N,), of the paying head.
        source: str (N,), of the paying head.
        heads: every head's arrays, by name.
        step: int32 (N,): the step of its episode that each environment took, from 1; -1
            for one that took none.
        episode_ids: the id of the episode that each took it in; empty for one that took
            none.
    """

    rewards: NDArray[np.float32]
    valid: NDArray[np.bool_]
    source: NDArray[np.str_]
    heads: Mapping[str, HeadRewards]
    step: NDArray[np.int32]
    episode_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RolloutRewards:
    """The rewards of T steps of N environments.

    Attributes:
        rewards: float32 (T, N), of the paying head.
        valid: bool (T, N), of the paying head.
        source: str (T, N), of the paying head.
        steps: each step's rewards, with those of every head.
        step: int32 (T, N): the step of its episode that each environment took; -1 where
            it took none.
    """

    rewards: NDArray[np.float32]
    valid: NDArray[np.bool_]
    source: NDArray[np.str_]
    steps: tuple[Rewards, ...]
    step: NDArray[np.int32]


def stacked(steps: Sequence[Rewards], count: int) -> RolloutRewards:
    """The rewards of several steps of ``count`` environments."""
    shape = (len(steps), count)
    return RolloutRewards(
        np.asarray([step.rewards for step in steps], np.float32).reshape(shape),
        np.asarray([step.valid for step in steps], np.bool_).reshape(shape),
        np.asarray([step.source for step in steps], SOURCE_DTYPE).reshape(shape),
        tuple(steps),
        np.asarray([step.step for step in steps], np.int32).reshape(shape),
    )


def rewards_of(
    rows: Sequence[Mapping[str, HeadStep]],
    taken: Sequence[StepOf],
    count: int,
    heads: Sequence[str],
    paying: str,
) -> Rewards:
    """The arrays of ``count`` environments, of which some took a step."""
    environments = [own.environment for own in taken]
    by_head = {head: _head_rewards(rows, environments, count, head) for head in heads}
    pays = by_head[paying]
    step, episode_ids = np.full(count, -1, np.int32), [""] * count
    for own in taken:
        step[own.environment], episode_ids[own.environment] = own.step, own.episode
    return Rewards(pays.rewards, pays.valid, pays.source, by_head, step, tuple(episode_ids))


def _head_rewards(
    rows: Sequence[Mapping[str, HeadStep]], environments: Sequence[int], count: int, head: str
) -> HeadRewards:
    parts = [row[head] for row in rows]
    rewards = np.full(count, np.nan, np.float32)
    valid = np.zeros(count, np.bool_)
    source = np.zeros(count, SOURCE_DTYPE)
    values = np.full(count, np.nan, np.float32)
    age = np.full(count, -1, np.int32)
    where = np.asarray(environments, np.intp)
    rewards[where] = [part.reward for part in parts]
    valid[where] = [part.valid for part in parts]
    source[where] = [part.source.value for part in parts]
    values[where] = [np.nan if part.value is None else part.value for part in parts]
    age[where] = [-1 if part.age is None else part.age for part in parts]
    indexed = list(zip(environments, parts, strict=True))
    replies = {at: part.reply for at, part in indexed if part.reply is not None}
    errors = {at: part.error for at, part in indexed if part.error is not None}
    return HeadRewards(rewards, valid, source, values, age, replies, errors)
