"""The rollouts as vectorised environments: stepped together, asked every K steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lrm_client import LrmError, Reply, RewardClient, Source
from lrm_server.demo.rollouts import Rollout

HEADS: Final = ("progress", "completion", "contrastive", "tri")


@dataclass(frozen=True, slots=True, eq=False)
class HeadTrace:
    """One head along one rollout of L steps.

    Attributes:
        values: float32 (L,): the held value at steps 1 to L; NaN where the head failed.
        queried: bool (L,): the steps at which the head was asked and answered.
        last: the reply to the last query; None when none succeeded.
    """

    values: NDArray[np.float32]
    queried: NDArray[np.bool_]
    last: Reply | None


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One rollout and its heads' traces."""

    rollout: Rollout
    heads: Mapping[str, HeadTrace]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """All traces, and the failures as (rollout, step, head, error)."""

    traces: tuple[Trace, ...]
    failures: tuple[tuple[str, int, str, LrmError], ...]

    @property
    def queries(self) -> int:
        """How many queries were answered."""
        return sum(
            int(head.queried.sum()) for trace in self.traces for head in trace.heads.values()
        )


def score_rollouts(
    client: RewardClient,
    rollouts: Sequence[Rollout],
    interval: int,
    stepped: Callable[[], None] = lambda: None,
) -> Scored:
    """Steps all rollouts together until the longest has ended.

    Args:
        client: of a server of the embedded checkpoint.
        rollouts: at least one.
        interval: K; frames are read and sent only at the steps that the clock wants.
        stepped: called after each step.

    Raises:
        LrmError: the episodes cannot be opened.
    """
    lengths = np.asarray([rollout.length for rollout in rollouts])
    longest = int(lengths.max())
    values = {head: np.full((longest, len(rollouts)), np.nan, np.float32) for head in HEADS}
    queried = {head: np.zeros((longest, len(rollouts)), np.bool_) for head in HEADS}
    last: dict[tuple[str, int], Reply] = {}
    failures: list[tuple[str, int, str, LrmError]] = []
    tasks = [rollout.task for rollout in rollouts]
    with client.vector_episodes(
        len(rollouts), tasks, HEADS, interval=interval, failure="mask"
    ) as episodes:
        episodes.reset([rollout.frame_at(0) for rollout in rollouts])
        for step in range(1, longest + 1):

            def render(wanted: NDArray[np.intp], step: int = step) -> list[bytes]:
                return [rollouts[at].frame_at(step) for at in wanted]

            rewards = episodes.step(render, final=lengths == step, mask=lengths >= step)
            for head, given in rewards.heads.items():
                values[head][step - 1] = given.values
                queried[head][step - 1] = given.source == Source.QUERIED.value
                last.update({(head, at): reply for at, reply in given.replies.items()})
                failures += [
                    (rollouts[at].name, step, head, error) for at, error in given.errors.items()
                ]
            stepped()
    traces = tuple(
        Trace(
            rollout,
            {
                head: HeadTrace(
                    values[head][: rollout.length, at],
                    queried[head][: rollout.length, at],
                    last.get((head, at)),
                )
                for head in HEADS
            },
        )
        for at, rollout in enumerate(rollouts)
    )
    return Scored(traces, tuple(failures))
