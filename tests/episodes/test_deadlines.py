"""Steps that are late: what is not done by the deadline fails alone."""

from __future__ import annotations

import asyncio
import time

import pytest

from lrm_client.clock import ClockConfig
from lrm_server.episodes.types import StepAnswer
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.query import Query
from tests.episodes.support import Bench, frame, sources, step

EVERY_STEP = ClockConfig(interval=1)


def soon() -> float:
    return time.monotonic() + 0.1


@pytest.fixture
def held(bench: Bench) -> asyncio.Event:
    """Queries of completion wait until it is set."""
    go_on = asyncio.Event()

    async def wait(query: Query) -> None:
        if query.head == "completion":
            await go_on.wait()

    bench.scorer.pause = wait
    return go_on


async def test_a_head_that_is_late_fails_and_the_others_are_answered(
    bench: Bench, held: asyncio.Event
) -> None:
    for name, head in (("slow", "completion"), ("quick", "progress")):
        await bench.open(head, "progress" if name == "slow" else "contrastive", episode=name)
        await bench.run_to(2, episode=name)
    deadline = soon()
    slow, quick = await bench.service.step(
        [step(3, episode=name, deadline=deadline) for name in ("slow", "quick")]
    )
    assert isinstance(slow, StepAnswer)
    assert isinstance(quick, StepAnswer)
    assert sources(slow) == {"completion": "failed", "progress": "queried"}
    late = slow.rewards[0].error
    assert late is not None
    assert late.code is ErrorCode.DEADLINE_EXCEEDED
    assert sources(quick) == {"progress": "queried", "contrastive": "queried"}
    assert bench.scorer.cancelled == 1


async def test_a_step_that_waits_for_another_callers_is_refused_at_its_own_deadline(
    bench: Bench, held: asyncio.Event
) -> None:
    await bench.open("completion", clock=EVERY_STEP)
    await bench.take(0)
    patient = asyncio.create_task(bench.take(1))
    while not bench.scorer.running:
        await asyncio.sleep(0)
    deadline = soon()
    results = await bench.service.step([step(2, deadline=deadline), step(3, deadline=deadline)])
    for refused in results:
        assert isinstance(refused, DomainError)
        assert refused.code is ErrorCode.DEADLINE_EXCEEDED
    held.set()
    assert sources(await patient) == {"completion": "queried"}
    assert (await bench.take(2)).step == 2


async def test_a_step_for_whose_frame_there_is_no_room_in_time_was_not_taken() -> None:
    bench = Bench(max_decoded_bytes=1)
    for name in ("a", "b"):
        await bench.open("progress", episode=name, clock=EVERY_STEP)
        await bench.take(0, episode=name)
    bench.scorer.pause = lambda query: asyncio.sleep(60)
    first = asyncio.create_task(bench.take(1, episode="a"))
    while not bench.scorer.running:
        await asyncio.sleep(0)
    before = await bench.store.get("b")
    refused = await bench.refused(1, episode="b", frame=frame(1), deadline=soon())
    assert refused.code is ErrorCode.DEADLINE_EXCEEDED
    assert await bench.store.get("b") is before
    first.cancel()
    await asyncio.wait({first})
