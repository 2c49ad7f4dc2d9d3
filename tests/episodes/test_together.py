"""Many episodes and many callers at once."""

from __future__ import annotations

import asyncio
import contextlib

from lrm_client.clock import ClockConfig
from lrm_server.episodes.types import StepAnswer
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.query import Query
from tests.episodes.support import Bench, frame, shown, sources, step

EVERY_STEP = ClockConfig(interval=1)


class Gate:
    """Holds queries up until it is opened."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._open = asyncio.Event()
        bench.scorer.pause = self._wait

    async def _wait(self, query: Query) -> None:
        await self._open.wait()

    async def held(self, queries: int) -> None:
        """Waits until so many queries stand before it."""
        async with asyncio.timeout(10):
            while self._bench.scorer.running < queries:
                await asyncio.sleep(0.001)

    def open(self) -> None:
        self._open.set()


async def cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_queries_of_a_batch_reach_the_scorer_together(bench: Bench) -> None:
    names = [str(n) for n in range(5)]
    for name in names:
        await bench.open("contrastive", "progress", episode=name, clock=EVERY_STEP)
        await bench.take(0, episode=name)
    gate = Gate(bench)
    steps = [step(1, episode=name) for name in names]
    batch = asyncio.create_task(bench.service.step(steps))
    await gate.held(10)
    gate.open()
    assert [answer.episode for answer in await batch] == names


async def test_steps_of_one_episode_are_taken_in_the_order_of_the_batch(bench: Bench) -> None:
    await bench.open("progress")
    steps = [step(number, frame=frame(number)) for number in range(8)]
    answers = await bench.service.step(steps)
    assert [answer.step for answer in answers] == list(range(8))
    assert [sources(answer).get("progress") for answer in answers] == (
        [None, "neutral", "neutral", "queried", "held", "held", "queried", "held"]
    )
    assert bench.scorer.most_running == 1


async def test_an_episode_that_is_asked_holds_no_other_up(bench: Bench) -> None:
    for name in ("slow", "quick"):
        await bench.open("progress", episode=name, clock=ClockConfig(interval=2))
        await bench.take(0, episode=name)
        await bench.take(1, episode=name)
    gate = Gate(bench)
    asked = asyncio.create_task(bench.take(2, episode="slow"))
    await gate.held(1)
    behind = asyncio.create_task(bench.take(3, episode="slow"))
    assert (await bench.take(1, episode="quick")).step == 1
    assert not asked.done()
    assert not behind.done()
    gate.open()
    assert sources(await asked) == {"progress": "queried"}
    assert sources(await behind) == {"progress": "held"}


async def test_a_step_sent_while_the_one_before_is_asked_waits_for_it(bench: Bench) -> None:
    await bench.open("progress", clock=ClockConfig(interval=10))
    await bench.take(0)
    gate = Gate(bench)
    forced = asyncio.create_task(bench.take(1, force=True))
    await gate.held(1)
    after = asyncio.create_task(bench.take(2, frame=None))
    await asyncio.sleep(0)
    gate.open()
    assert sources(await forced) == {"progress": "queried"}
    (held,) = (await after).rewards
    assert (held.source.value, held.age) == ("held", 1)


async def test_a_cancelled_step_was_never_taken(bench: Bench) -> None:
    await bench.open("progress", "contrastive")
    await bench.run_to(2)
    before = await bench.store.get("e")
    kept = bench.service.frame_bytes
    gate = Gate(bench)
    asked = asyncio.create_task(bench.take(3))
    await gate.held(2)
    assert bench.service.frame_bytes > kept
    await cancel(asked)
    assert bench.scorer.cancelled == 2
    assert await bench.store.get("e") is before
    assert bench.service.frame_bytes == kept
    gate.open()
    assert sources(await bench.take(3)) == {"progress": "queried", "contrastive": "queried"}


async def test_a_retry_that_waited_takes_the_step_when_the_first_is_cancelled(
    bench: Bench,
) -> None:
    await bench.open("progress")
    await bench.run_to(2)
    gate = Gate(bench)
    first = asyncio.create_task(bench.take(3))
    await gate.held(1)
    second = asyncio.create_task(bench.take(3))
    await asyncio.sleep(0)
    await cancel(first)
    gate.open()
    assert sources(await second) == {"progress": "queried"}
    assert len(bench.scorer.queries) == 2


async def test_a_cancelled_batch_leaves_each_of_its_episodes_whole(bench: Bench) -> None:
    for name in ("held", "due"):
        await bench.open("progress", episode=name)
        await bench.run_to(1 if name == "held" else 2, episode=name)
    gate = Gate(bench)
    steps = [step(2, episode="held"), step(3, episode="due")]
    batch = asyncio.create_task(bench.service.step(steps))
    await gate.held(1)
    await cancel(batch)
    gate.open()
    held, due = await bench.service.step(steps)
    assert isinstance(held, StepAnswer)
    assert sources(held) == {"progress": "neutral"}
    assert isinstance(due, StepAnswer)
    assert sources(due) == {"progress": "queried"}
    assert sum(bench.rewards.values()) == 1 + 2 + 1 + 1


async def test_an_episode_closed_while_it_is_asked_stays_closed(bench: Bench) -> None:
    await bench.open("contrastive", clock=EVERY_STEP)
    await bench.take(0)
    gate = Gate(bench)
    asked = asyncio.create_task(bench.refused(1))
    await gate.held(1)
    assert await bench.service.close(["e"]) == [True]
    await bench.open("contrastive", clock=EVERY_STEP)
    gate.open()
    refused = await asked
    assert (refused.code, refused.field) == (ErrorCode.EPISODE_NOT_FOUND, "episode")
    assert (await bench.take(0)).step == 0
    assert bench.rewards == {}


async def test_held_steps_are_answered_without_a_task(bench: Bench) -> None:
    for number in range(3):
        await bench.open("progress", episode=str(number))
        await bench.take(0, episode=str(number))
    work = bench.service.step([step(1, episode=str(n), frame=None) for n in range(3)])
    try:
        # Nothing is waited for, so it runs to its end without an event loop.
        work.send(None)
    except StopIteration as done:
        answers = done.value
    assert [sources(answer) for answer in answers] == [{"progress": "neutral"}] * 3


async def test_no_turns_are_left_behind(bench: Bench) -> None:
    await bench.open("progress", clock=EVERY_STEP)
    await bench.run_to(3)
    results = await bench.service.step([step(0, episode=f"nobody {n}") for n in range(3)])
    assert all(isinstance(result, DomainError) for result in results)
    assert len(bench.service._turns) == 0


async def test_frames_are_shown_to_their_own_episode(bench: Bench) -> None:
    names = [str(n) for n in range(4)]
    for name in names:
        await bench.open("contrastive", episode=name, clock=EVERY_STEP)
    for number in range(3):
        await bench.service.step(
            [step(number, episode=name, frame=frame(number, episode=int(name))) for name in names]
        )
    assert len(bench.scorer.queries) == 8
    for query in bench.scorer.queries:
        seen = {shown(query, role).episode for role in query.frames}
        assert len(seen) == 1
