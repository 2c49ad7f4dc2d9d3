"""What an open episode holds, and what is left of it."""

from __future__ import annotations

import asyncio

from lrm_client.clock import ClockConfig
from lrm_server.episodes.state import REMEMBERED_STEPS
from lrm_server.heads.query import Query
from tests.alive import alive
from tests.api.waiting import until
from tests.episodes.support import Bench, frame, spec, step

LONG = 4 * REMEMBERED_STEPS


async def test_a_long_episode_holds_two_frames_and_its_last_answers(bench: Bench) -> None:
    await bench.open("tri", clock=ClockConfig(interval=2))
    before = alive()
    for number in range(LONG):
        await bench.take(number)
        if number % REMEMBERED_STEPS == 0:
            bench.scorer.queries.clear()
            held = alive() - before
            assert held["Frame"] <= 2
            assert held["StepAnswer"] <= REMEMBERED_STEPS
    assert bench.store.frame_bytes == 2 * frame(0).nbytes


async def test_a_held_step_keeps_no_frame_that_came_with_it(bench: Bench) -> None:
    await bench.open("progress", clock=ClockConfig(interval=100))
    await bench.take(0)
    bench.scorer.queries.clear()
    before = alive()
    for number in range(1, 20):
        await bench.take(number)
    assert alive()["Frame"] == before["Frame"]


async def test_an_episode_that_ended_holds_no_frame_until_it_is_closed(bench: Bench) -> None:
    before = alive()
    await bench.open("tri")
    await bench.run_to(4)
    await bench.take(5, final=True)
    bench.scorer.queries.clear()
    assert (alive() - before)["Frame"] == 0
    assert bench.store.frame_bytes == 0
    await bench.service.close(["e"])
    assert alive() <= before


async def test_episodes_that_nobody_steps_are_forgotten_with_all_they_held(bench: Bench) -> None:
    before = alive()
    for number in range(10):
        await bench.open("tri", episode=f"e{number}")
        await bench.run_to(3, episode=f"e{number}")
    bench.scorer.queries.clear()
    assert (alive() - before)["Episode"] == 10
    bench.now = 61.0
    assert bench.service.open_count == 0
    assert bench.store.frame_bytes == 0
    assert alive() <= before


async def test_a_step_that_is_given_up_leaves_its_episode_as_it_was(bench: Bench) -> None:
    await bench.open("progress")
    await bench.run_to(2)
    bench.scorer.queries.clear()
    before, frames = alive(), bench.store.frame_bytes
    never = asyncio.Event()

    async def pause(query: Query) -> None:
        await never.wait()

    bench.scorer.pause = pause
    taking = asyncio.create_task(bench.service.step([step(3)]))
    await asyncio.sleep(0.01)
    assert bench.store.frame_bytes >= frames
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    del taking
    bench.scorer.queries.clear()
    assert bench.store.frame_bytes == frames
    await until(lambda: alive() <= before)


async def test_refused_openings_hold_nothing() -> None:
    bench = Bench(max_episodes=1)
    await bench.open("progress")
    before = alive()
    for number in range(5):
        await bench.service.open([spec("progress", episode=f"more-{number}")])
    assert alive() <= before
