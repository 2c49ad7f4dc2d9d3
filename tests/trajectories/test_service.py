"""How much of a trajectory is asked and read at once, and what ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.query import Query, Reply
from lrm_server.trajectories.frame_source import Arrived, FrameSource
from lrm_server.trajectories.service import TrajectoryService
from lrm_server.trajectories.types import Point, Summary, TrajectoryLimits
from tests.scripted_scorer import ScriptedScorer
from tests.trajectories.support import frames, one_by_one, scored, spec_of


async def test_one_trajectory_asks_a_bounded_number_at_once_and_reads_no_further() -> None:
    scorer, release, read = ScriptedScorer(), asyncio.Event(), 0
    sent = frames(30)

    async def hold(query: Query) -> None:
        await release.wait()

    scorer.pause = hold
    spec = spec_of("progress", "completion")
    service = TrajectoryService(scorer, TrajectoryLimits(max_queries=4))

    async def arriving() -> AsyncIterator[Arrived]:
        nonlocal read
        for frame in sent:
            read += 1
            yield Arrived([frame])

    source = FrameSource(spec, arriving(), service.limits)
    now = time.monotonic()

    async def collect() -> list[Point | Summary]:
        scoring = service.score(spec, source, arrived=now, deadline=now + 60)
        return [item async for item in scoring]

    task = asyncio.create_task(collect())
    while scorer.running < 4:
        await asyncio.sleep(0.01)
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert scorer.running == 4
    assert read <= 4 + 3
    release.set()
    items = await task
    assert len(items) == 31
    assert scorer.most_running == 4


async def test_points_come_before_the_trajectory_ends() -> None:
    scorer, more = ScriptedScorer(), asyncio.Event()
    sent = frames(2)

    async def arriving() -> AsyncIterator[Arrived]:
        yield Arrived([sent[0]])
        await more.wait()
        yield Arrived([sent[1]])

    spec, service = spec_of("progress"), TrajectoryService(scorer, TrajectoryLimits())
    now = time.monotonic()
    source = FrameSource(spec, arriving(), service.limits)
    scoring = service.score(spec, source, arrived=now, deadline=now + 20)
    first = await anext(scoring)
    assert isinstance(first, Point)
    more.set()
    assert len([item async for item in scoring]) == 2


async def test_leaving_gives_up_what_is_asked() -> None:
    scorer = ScriptedScorer()

    async def hold(query: Query) -> None:
        if len(scorer.queries) > 1:
            await asyncio.sleep(600)

    scorer.pause = hold
    spec, service = spec_of("progress"), TrajectoryService(scorer, TrajectoryLimits())
    now = time.monotonic()
    source = FrameSource(spec, one_by_one(frames(5), 1, ()), service.limits)
    scoring = service.score(spec, source, arrived=now, deadline=now + 600)
    await anext(scoring)
    while scorer.running < 4:
        await asyncio.sleep(0.01)
    await scoring.aclose()
    assert scorer.running == 0
    assert scorer.cancelled == 4


async def test_a_sender_that_stops_sending_is_left_at_the_deadline() -> None:
    async def arriving() -> AsyncIterator[Arrived]:
        yield Arrived(frames(1))
        await asyncio.sleep(600)

    spec, service = spec_of("progress"), TrajectoryService(ScriptedScorer(), TrajectoryLimits())
    now = time.monotonic()
    source = FrameSource(spec, arriving(), service.limits)
    with pytest.raises(DomainError) as refused:
        async for _ in service.score(spec, source, arrived=now, deadline=now + 0.3):
            pass
    assert refused.value.code is ErrorCode.DEADLINE_EXCEEDED


async def test_a_full_engine_is_waited_for() -> None:
    refusals = [DomainError(ErrorCode.OVERLOADED, "full", retry_after_seconds=0.01)] * 3

    def answers(query: Query) -> float | DomainError:
        return refusals.pop() if refusals else 0.5

    points, _ = await scored(ScriptedScorer(answers), spec_of("progress"), frames(3))
    assert all(isinstance(point.outcomes["progress"], Reply) for point in points)
    assert refusals == []


async def test_an_engine_that_is_away_fails_the_trajectory_at_once() -> None:
    away = DomainError(ErrorCode.UNAVAILABLE, "the engine is starting again")
    with pytest.raises(DomainError) as refused:
        await scored(ScriptedScorer(lambda query: away), spec_of("progress"), frames(3))
    assert refused.value.code is ErrorCode.UNAVAILABLE


async def test_so_many_trajectories_at_once_and_no_more() -> None:
    service = TrajectoryService(ScriptedScorer(), TrajectoryLimits(max_trajectories=1))
    with service.place():
        with pytest.raises(DomainError) as refused, service.place():
            raise AssertionError("there was no place")
        assert refused.value.code is ErrorCode.OVERLOADED
        assert refused.value.retry_after_seconds
    with service.place():
        pass
