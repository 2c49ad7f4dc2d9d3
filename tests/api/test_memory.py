"""What a server holds for its callers is bounded, and gone when they have closed everything."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from bench.holding import uniform_scorer
from lrm_client import AsyncRewardClient, EpisodeSpec, EpisodeStep, LrmError, Overloaded, Query
from lrm_client.budgets import open_run
from lrm_server.app import Server
from tests.alive import alive
from tests.api.conftest import ONCE, Serve, settings
from tests.api.waiting import until

TASK = "pick up the cube"
SIDE = 64
FRAME_BYTES = SIDE * SIDE * 3
EPISODES = 10
STEPS = 9
CYCLES = 5


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """A whole server that keeps nothing to look at afterwards, as a scripted scorer does."""
    async with Server(settings(), uniform_scorer()) as server:
        yield server


@pytest_asyncio.fixture
async def client(server: Server, transport: str) -> AsyncIterator[AsyncRewardClient]:
    port = server.grpc_port if transport == "grpc" else server.http_port
    scheme = "grpc" if transport == "grpc" else "http"
    async with AsyncRewardClient(f"{scheme}://127.0.0.1:{port}", retry=ONCE) as client:
        yield client


def pictures(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return list(random.integers(0, 256, (EPISODES, SIDE, SIDE, 3), dtype=np.uint8))


async def learn(client: AsyncRewardClient, seed: int) -> None:
    """Episodes with all heads, of which some end; queries of which some are wrong."""
    specs = [
        EpisodeSpec(TASK, ["tri", "progress"], interval=3, readout="likelihood", id=f"{seed}-{at}")
        for at in range(EPISODES)
    ]
    assert not [each for each in await client.open_episodes(specs) if isinstance(each, LrmError)]
    for number in range(STEPS + 1):
        shown = pictures(100 * seed + number)
        steps = [
            EpisodeStep(spec.id, number, shown[at], final=number == STEPS and at % 2 == 0)
            for at, spec in enumerate(specs)
        ]
        answers = await client.step_episodes(steps)
        assert not [each for each in answers if isinstance(each, LrmError)]
    queries = [Query("progress", TASK, current=image) for image in pictures(seed)]
    await client.score_batch([*queries, Query("contrastive", TASK, current=queries[0].current)])
    await client.close_episodes([spec.id for spec in specs])


async def test_nothing_of_episodes_and_queries_is_held_when_they_are_closed(
    server: Server, client: AsyncRewardClient
) -> None:
    await learn(client, 0)
    before = alive()
    for cycle in range(1, CYCLES):
        await learn(client, cycle)
    await until(lambda: alive() <= before)


@pytest.mark.parametrize("transport", ["grpc"])
async def test_memory_does_not_grow_with_what_was_answered(
    server: Server, client: AsyncRewardClient
) -> None:
    tracemalloc.start()
    try:
        # What is made once, and what lists and caches take before they are full.
        for cycle in range(3):
            await learn(client, cycle)
        alive()
        before, _ = tracemalloc.get_traced_memory()
        for cycle in range(3, 3 + CYCLES):
            await learn(client, cycle)
        alive()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Less than one frame of the hundred, or a hundredth of the answers, of each cycle.
    assert (after - before) / CYCLES < FRAME_BYTES


async def test_a_caller_who_leaves_leaves_nothing_behind(serve: Serve) -> None:
    async with Server(settings(), uniform_scorer()) as server:
        before = alive()
        async with AsyncRewardClient(f"grpc://127.0.0.1:{server.grpc_port}", retry=ONCE) as client:
            queries = [Query("tri", TASK, current=a, previous=a) for a in pictures(1)]
            asking = asyncio.create_task(client.score_batch(queries))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: alive() <= before)


async def test_no_more_runs_are_open_than_the_settings_allow(serve: Serve) -> None:
    served = await serve(max_runs=2, run_idle_seconds=0.2)
    client = await served.client("grpc")
    for name in ("one", "two"):
        await client.send(open_run(name, 5))
    with pytest.raises(Overloaded):
        await client.send(open_run("three", 5))
    # A run that nobody named for the idle time has made way.
    await asyncio.sleep(0.25)
    await client.send(open_run("three", 5))
