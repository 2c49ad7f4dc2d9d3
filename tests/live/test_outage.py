"""The server is killed in the middle of a rollout and started again.

What must have a reward is worked out without the client: from when the server answered, the
clock's reference model, and stateless queries of the same frames afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from lrm_client import (
    HeadInfo,
    LrmError,
    Query,
    Reply,
    Retry,
    RewardClient,
    Rewards,
    RolloutRewards,
    StepHandle,
)
from tests.clock.reference_model import ReferenceEpisode
from tests.live.restarting import RestartingServer, restarting_server
from tests.rollout_frames import episodes

INTERVAL = 3
SCALE = 2.0
HEADS = ("progress", "contrastive")
SERVERS = {
    "scripted": ["tests.live.scripted_server"],
    "embedded": ["lrm_server.main", "serve", "--enforce-eager"],
}
ROLLOUTS = [
    next(e for e in episodes() if e.env_id == f"{name}Cube-v1") for name in ("Push", "Pull")
]
N = len(ROLLOUTS)
NOBODY = (False,) * N
PATIENCE_S = 240.0
ROUNDING = 0.03
"""By how much a probability depends on what else was in the engine's batch."""
FAST_RETRY = Retry(attempts=4, initial_seconds=0.05, maximum_seconds=0.2)


class Taken(NamedTuple):
    """A step of all environments; ``answered`` is None where the server came back with it."""

    handle: StepHandle
    final: tuple[bool, ...]
    answered: bool | None


@cache
def frame(environment: int, step: int) -> bytes:
    rollout = ROLLOUTS[environment]
    return rollout.jpeg(step % len(rollout.frames))


class Learner:
    """Submits steps, and writes down of each whether the server answered at the time."""

    def __init__(self, client: RewardClient) -> None:
        self._client = client
        self._at = [0] * N
        self._episodes = client.vector_episodes(
            N,
            [rollout.task for rollout in ROLLOUTS],
            HEADS,
            interval=INTERVAL,
            scale=SCALE,
            failure="mask",
        )
        self._episodes.reset([frame(at, 0) for at in range(N)])
        self.taken: list[Taken] = []

    def take(self, count: int, *, answered: bool | None, final: Sequence[bool] = NOBODY) -> None:
        """Submits steps without waiting; the last is final for some, who are then reset."""
        for left in reversed(range(count)):
            ends = tuple(final) if left == 0 else NOBODY
            self._at = [step + 1 for step in self._at]
            handle = self._episodes.submit(self._render, final=ends)
            self.taken.append(Taken(handle, ends, answered))
            if any(ends):
                self._at = [
                    0 if ended else step for step, ended in zip(self._at, ends, strict=True)
                ]
                self._episodes.reset(self._render, ends)

    def take_one_while_it_may_come_back(self) -> bool:
        """Submits one step; whether the server certainly answered."""
        before = answers(self._client)
        self.take(1, answered=before)
        if not before:
            self.wait()
            after = answers(self._client)
            self.taken[-1] = self.taken[-1]._replace(answered=None if after else False)
        return before

    def wait(self) -> None:
        for taken in self.taken:
            taken.handle.wait()

    def gather(self) -> RolloutRewards:
        return self._episodes.gather([taken.handle for taken in self.taken])

    def _render(self, indices: np.ndarray) -> list[bytes]:
        return [frame(at, self._at[at]) for at in indices]


def answers(client: RewardClient) -> bool:
    """Whether the server answers a query now."""
    try:
        client.progress(frame(0, 0), ROLLOUTS[0].task)
    except LrmError:
        return False
    return True


def wait_until_it_answers(client: RewardClient) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not answers(client):
        assert time.monotonic() < deadline, "the server does not come up"
        time.sleep(0.2)


def rollout_through_a_kill(server: RestartingServer, client: RewardClient) -> Learner:
    """A rollout of two environments; the second one's episode ends while the server is away."""
    learner = Learner(client)
    learner.take(2 * INTERVAL + 1, answered=True)
    learner.wait()
    # What is submitted to a frozen server is in flight when it is killed.
    server.freeze()
    learner.take(INTERVAL + 1, answered=False)
    server.kill()
    learner.take(INTERVAL, answered=False, final=(False, True))
    learner.take(INTERVAL + 1, answered=False)
    learner.wait()
    server.start()
    deadline = time.monotonic() + PATIENCE_S
    while not learner.take_one_while_it_may_come_back():
        assert time.monotonic() < deadline, "the server does not come up again"
        time.sleep(0.2)
    learner.take(2 * INTERVAL, answered=True, final=(True, True))
    learner.take(2 * INTERVAL, answered=True)
    return learner


class Stateless:
    """What the server says of the same frames afterwards, one query at a time."""

    def __init__(self, client: RewardClient) -> None:
        self._client = client
        (model,) = client.models().models
        self.heads: dict[str, HeadInfo] = {head: model.heads[head] for head in HEADS}

    def value(self, head: str, at: int, step: int, previous: int, given: Reply | None) -> float:
        """The value of a query, which that of the rollout may differ from by a tie alone."""
        info = self.heads[head]
        shown = {"initial": frame(at, 0), "previous": frame(at, previous)}
        looks = {*info.required_frames, *info.optional_frames}
        frames = {role: data for role, data in shown.items() if role in looks}
        reply = self._client.score(
            Query(head, ROLLOUTS[at].task, current=frame(at, step), **frames)
        )
        if given is None or given.value == reply.value:
            return reply.value
        assert given.probabilities == pytest.approx(reply.probabilities, abs=ROUNDING)
        return given.value


def check_against_the_reference(
    taken: Sequence[Taken], rows: Sequence[Rewards], stateless: Stateless
) -> None:
    neutral = {head: stateless.heads[head].neutral for head in HEADS}

    def begin() -> ReferenceEpisode:
        reference = ReferenceEpisode(INTERVAL, SCALE, "hold", "episode", 0, neutral)
        reference.take(0, {}, False)
        return reference

    for at in range(N):
        reference = begin()
        for step, row in zip(taken, rows, strict=True):
            number = reference.history[-1].step + 1
            assert row.step[at] == number
            outcomes: dict[str, float | None] = dict.fromkeys(
                reference.due(number, step.final[at], False)
            )
            for head in outcomes:
                came_back = step.answered is None and row.heads[head].source[at] == "queried"
                if step.answered or came_back:
                    given = row.heads[head].replies.get(at)
                    previous = reference.previous(head)
                    outcomes[head] = stateless.value(head, at, number, previous, given)
            for head, paid, _, source, age in reference.take(number, outcomes, step.final[at]):
                got = row.heads[head]
                assert (number, got.source[at]) == (number, source)
                assert got.valid[at] == (source != "failed")
                assert got.age[at] == (-1 if age is None else age)
                assert got.rewards[at] == pytest.approx(
                    np.nan if paid is None else paid, nan_ok=True
                )
            if step.final[at]:
                reference = begin()


@pytest.mark.parametrize("kind", SERVERS)
def test_the_mask_shows_exactly_the_steps_that_a_killed_server_left_without_a_reward(
    kind: str, tmp_path: Path
) -> None:
    with (
        restarting_server(SERVERS[kind], tmp_path) as server,
        RewardClient(server.grpc, timeout=60.0, retry=FAST_RETRY) as client,
    ):
        wait_until_it_answers(client)
        learner = rollout_through_a_kill(server, client)
        gathered = learner.gather()
        check_against_the_reference(learner.taken, gathered.steps, Stateless(client))
    before, away = 2 * INTERVAL + 1, 3 * INTERVAL + 2
    failed = ~gathered.valid
    assert not failed[:before].any()
    # From the due step that was in flight on, and from the first due step of the new episode.
    assert failed[3 * INTERVAL - 1 : before + away, 0].all()
    assert failed[before + away - 2 : before + away, 1].all()
    assert not failed[-4 * INTERVAL :].any()
    assert (np.isnan(gathered.rewards) == failed).all()
    assert (gathered.source[-1] == "queried").all()
