"""The queue before the real engine: robots before learners, and nothing left of who went away."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import numpy as np
import pytest

from lrm_client import AsyncRewardClient, LrmError, Query, Retry
from lrm_client.errors import DeadlineExceeded
from tests.conftest import LiveServer
from tests.engine_host import EngineHost

TASK = "Push the blue cube into the target circle."
MANY = 600
"""Some seconds of work."""


def queries(count: int, seed: int) -> list[Query]:
    """Questions about frames that nobody has seen."""
    frames = np.random.default_rng(seed).integers(0, 256, (count, 128, 128, 3), np.uint8)
    return [Query("completion", TASK, current=frame) for frame in frames]


class Engine:
    """What the engine says of itself."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host

    async def questions(self) -> int:
        """Questions that are in our queue or past it."""
        status = await asyncio.to_thread(self._host.run, self._host.scorer.status())
        return status.running + status.waiting

    async def works(self) -> bool:
        """Whether vLLM's scheduler has a request, running or waiting."""
        llm: Any = self._host.scorer.engine._llm.current()  # type: ignore[attr-defined]
        if llm.get_num_unfinished_requests():
            return True
        asked = llm.engine_core.call_utility_async("has_work")
        return bool(await asyncio.to_thread(self._host.run, asked))

    async def is_busy(self) -> None:
        """Waits until questions are in, some of them in vLLM."""
        while not (await self.questions() > MANY / 2 and await self.works()):
            await asyncio.sleep(0.005)

    async def becomes_idle(self) -> None:
        """Waits until nothing is left, here and in vLLM."""
        async with asyncio.timeout(30):
            while await self.questions() or await self.works():
                await asyncio.sleep(0.02)

    def answered_by_step(self, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
        """Of each step from now on, the lengths in tokens of the prompts that it answered."""
        llm: Any = self._host.scorer.engine._llm.current()  # type: ignore[attr-defined]
        record, lengths = llm.logger_manager.record, []

        def recorded(*given: Any, **named: Any) -> None:
            if (stats := named["iteration_stats"]) is not None and stats.finished_requests:
                lengths.append([each.num_prompt_tokens for each in stats.finished_requests])
            record(*given, **named)

        monkeypatch.setattr(llm.logger_manager, "record", recorded)
        return lengths


@pytest.fixture
def engine(served: EngineHost) -> Engine:
    return Engine(served)


async def test_a_call_that_is_cancelled_leaves_the_queue_and_the_engine(
    live_server: LiveServer, engine: Engine
) -> None:
    async with AsyncRewardClient(live_server.grpc, timeout=60) as client:
        call = asyncio.create_task(client.score_batch(queries(MANY, 1)))
        await engine.is_busy()
        call.cancel()
        await asyncio.wait([call])
        await engine.becomes_idle()
        assert (await client.score(queries(1, 2)[0])).label in ("yes", "no")


async def test_a_connection_that_is_closed_leaves_the_queue_and_the_engine(
    live_server: LiveServer, engine: Engine
) -> None:
    body = {
        "queries": [
            {
                "head": "completion",
                "task": TASK,
                "current": {
                    "encoding": "raw",
                    "shape": [128, 128, 3],
                    "data": base64.b64encode(query.current.tobytes()).decode(),
                },
            }
            for query in queries(MANY, 3)
        ]
    }
    async with httpx.AsyncClient(base_url=live_server.http, timeout=60, trust_env=False) as http:
        call = asyncio.create_task(http.post("/v1/score", json=body))
        await engine.is_busy()
        call.cancel()
        await asyncio.wait([call])
    await engine.becomes_idle()


async def test_what_expires_in_the_queue_is_answered_as_late_and_leaves_nothing(
    live_server: LiveServer, engine: Engine
) -> None:
    once = Retry(attempts=1)
    async with AsyncRewardClient(live_server.grpc, retry=once) as client:
        try:
            results = await client.score_batch(queries(MANY, 4), timeout=1.0)
        except DeadlineExceeded as error:
            # The answer to so many came too late itself.
            results = [error]
        late = [result for result in results if isinstance(result, LrmError)]
        assert late
        assert {type(error) for error in late} == {DeadlineExceeded}
        await engine.becomes_idle()


async def test_a_robots_question_passes_those_of_a_learner(
    live_server: LiveServer, engine: Engine
) -> None:
    async with (
        AsyncRewardClient(live_server.grpc, timeout=60) as learner,
        AsyncRewardClient(live_server.grpc, timeout=60, priority="interactive") as robot,
    ):
        call = asyncio.create_task(learner.score_batch(queries(MANY, 5)))
        await engine.is_busy()
        await robot.score(queries(1, 100)[0])
        # Behind those that came earlier it would be the last one.
        left = await engine.questions()
        assert not call.done()
        assert left > MANY / 4
        await call


async def test_the_step_that_answers_a_robot_answers_few_of_a_learner(
    live_server: LiveServer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = engine.answered_by_step(monkeypatch)
    robots_task = f"{TASK} Slowly."
    frames = [query.current for query in queries(6, 101)]
    async with (
        AsyncRewardClient(live_server.grpc, timeout=60) as learner,
        AsyncRewardClient(live_server.grpc, timeout=60, priority="interactive") as robot,
    ):
        # What the tasks have in common with prompts before is known from now on.
        await robot.score(Query("completion", robots_task, current=frames[0]))
        ((robots,),) = lengths
        lengths.clear()
        call = asyncio.create_task(learner.score_batch(queries(MANY, 8)))
        await engine.is_busy()
        for frame in frames[1:]:
            await robot.score(Query("completion", robots_task, current=frame))
        assert not call.done()
        await call
    beside = [len(step) - 1 for step in lengths if robots in step]
    assert len(beside) == len(frames) - 1
    # One whose first part was computed in the step before, and one that fits beside.
    assert max(beside) <= 2
    assert max(map(len, lengths)) > 8


async def test_a_second_learner_does_not_wait_for_all_of_the_first(
    live_server: LiveServer, engine: Engine
) -> None:
    async with (
        AsyncRewardClient(live_server.grpc, timeout=60) as first,
        AsyncRewardClient(live_server.grpc, timeout=60) as second,
    ):
        call = asyncio.create_task(first.score_batch(queries(MANY, 6)))
        await engine.is_busy()
        await second.score_batch(queries(10, 7))
        assert not call.done()
        assert await engine.questions() > MANY / 4
        await call
