"""What is late fails alone, and in time for its caller to see it."""

from __future__ import annotations

import asyncio

import pytest

from lrm_client import AsyncRewardClient, EpisodeSpec, EpisodeStep, LrmError, Query, StepReply
from lrm_server.api.arrival import LATE_SECONDS, Arrival
from lrm_server.heads import query as server_query
from tests.api.frames import pixels
from tests.scripted_scorer import ScriptedScorer

SLOW, FAST = "slow", "fast"


@pytest.fixture
def scorer() -> ScriptedScorer:
    """Never answers a query of the slow task."""
    scorer = ScriptedScorer()

    async def pause(query: server_query.Query) -> None:
        if query.task == SLOW:
            await asyncio.sleep(60)

    scorer.pause = pause
    return scorer


async def test_an_environment_that_is_slow_fails_alone_within_the_callers_deadline(
    client: AsyncRewardClient,
) -> None:
    for task in (SLOW, FAST):
        await client.open_episodes([EpisodeSpec(task, ["progress"], interval=1, id=task)])
        await client.step_episodes([EpisodeStep(task, 0, pixels())])
    steps = [EpisodeStep(task, 1, pixels(seed=1)) for task in (SLOW, FAST)]
    slow, fast = await client.step_episodes(steps, timeout=2.0)
    assert isinstance(fast, StepReply), fast
    assert [reward.reward for reward in fast.rewards.values()] == [0.5]
    assert isinstance(slow, StepReply), slow
    (late,) = slow.rewards.values()
    assert late.reward is None
    assert late.error is not None
    assert late.error.code == "deadline_exceeded"


async def test_a_query_that_is_slow_fails_alone_within_the_callers_deadline(
    client: AsyncRewardClient,
) -> None:
    queries = [Query("progress", task, current=pixels()) for task in (SLOW, FAST)]
    slow, fast = await client.score_batch(queries, timeout=2.0)
    assert isinstance(slow, LrmError)
    assert slow.code == "deadline_exceeded"
    assert not isinstance(fast, LrmError)


@pytest.mark.parametrize(
    ("limit", "caller", "works", "answered"),
    [
        (60.0, None, 60.0, 60.0 + LATE_SECONDS),
        (60.0, 2.0, 1.8, 2.0),
        (60.0, 30.0, 29.0, 30.0),
        (60.0, 300.0, 60.0, 60.0 + LATE_SECONDS),
        (60.0, 0.0, 0.0, 0.0),
        (60.0, float("inf"), 60.0, 60.0 + LATE_SECONDS),
    ],
)
def test_work_ends_before_the_caller_stops_waiting(
    limit: float, caller: float | None, works: float, answered: float
) -> None:
    arrival = Arrival(limit, caller, at=1000.0)
    assert arrival.deadline - arrival.at == pytest.approx(works)
    assert arrival.end - arrival.at == pytest.approx(answered)
