"""Steps that are submitted now and gathered later, on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from lrm_client import (
    AsyncRewardClient,
    AsyncVectorEpisodes,
    EpisodeEnded,
    EpisodeNotFound,
    FrameRequired,
    InvalidRequest,
    LrmError,
    Phase,
    RewardClient,
    RewardsFailed,
)
from lrm_client.wire import reward_pb2 as pb
from tests.client.conftest import QUICK
from tests.client.gate import Gate
from tests.client.scripted import Asked, ScriptedCore, ScriptedError, problem

TASK = "put the cube on the plate"
N = 3
FRAMES = np.stack([np.full((4, 5, 3), at, np.uint8) for at in range(N)])
DOWN = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "engine lost"))


@pytest.fixture
async def loop_client(target: str) -> AsyncIterator[AsyncRewardClient]:
    async with AsyncRewardClient(target, retry=QUICK, timeout=10.0) as client:
        yield client


def by_step(asked: Asked) -> float:
    return asked.step / 10


async def opened(
    client: AsyncRewardClient, core: ScriptedCore, **options: Any
) -> AsyncVectorEpisodes:
    core.answer = by_step
    episodes = client.vector_episodes(N, TASK, ["progress"], **{"interval": 2, **options})
    await episodes.reset(FRAMES)
    return episodes


async def reached(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.reached.wait, 20)


async def waits(task: asyncio.Task[Any]) -> bool:
    """Whether the task goes no further, while the loop goes on."""
    await asyncio.wait([task], timeout=0.1)
    return not task.done()


async def test_gathered_rewards_are_those_of_the_blocking_client(
    loop_client: AsyncRewardClient, client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = by_step
    options: dict[str, Any] = {"interval": 2, "phase": Phase.ALIGNED, "failure": "mask"}
    there = loop_client.vector_episodes(N, TASK, ["progress"], **options)
    here = client.vector_episodes(N, TASK, ["progress"], **options)
    await there.reset(FRAMES)
    await asyncio.to_thread(here.reset, FRAMES)
    handles, expected = [], []
    for step in range(1, 8):
        final = np.array([False, step == 3, False])
        mask = np.array([step != 5, True, True])
        handles.append(await there.submit(FRAMES, final=final, mask=mask))
        expected.append(await asyncio.to_thread(here.step, FRAMES, final=final, mask=mask))
        if final.any():
            await there.reset(FRAMES, final)
            await asyncio.to_thread(here.reset, FRAMES, final)
    gathered = await there.gather(handles)
    assert (gathered.rewards.shape, gathered.rewards.dtype) == ((7, N), np.float32)
    for name in ("rewards", "valid", "source", "step"):
        rows = np.stack([getattr(row, name) for row in expected])
        np.testing.assert_array_equal(getattr(gathered, name), rows)


async def test_submitting_does_not_wait_for_the_server(
    loop_client: AsyncRewardClient, core: ScriptedCore, gate: Gate
) -> None:
    episodes = await opened(loop_client, core)
    handles = [await episodes.submit(FRAMES) for _ in range(5)]
    await reached(gate)
    assert [handle.done() for handle in handles[1:]] == [False] * 4
    assert episodes.wants().tolist() == [True] * N
    gate.open()
    gathered = await episodes.gather(handles)
    assert gathered.rewards[:, 0] == pytest.approx([0.0, 0.2, 0.2, 0.4, 0.4])
    assert [asked.step for asked in core.asked] == [2] * N + [4] * N
    again = await episodes.gather(handles)
    assert again.steps == gathered.steps


@pytest.mark.parametrize(
    ("bound", "before"),
    [
        ({"max_in_flight_queries": 2 * N}, 2),
        ({"max_in_flight_bytes": 3 * FRAMES.nbytes}, 3),
        ({"max_in_flight_steps": 4}, 4),
        ({"max_in_flight_bytes": 1}, 1),
    ],
    ids=str,
)
async def test_a_server_that_hangs_stops_the_rollout_at_the_bound_and_not_the_loop(
    loop_client: AsyncRewardClient,
    core: ScriptedCore,
    gate: Gate,
    bound: dict[str, int],
    before: int,
) -> None:
    episodes = await opened(loop_client, core, interval=1, **bound)
    handles = [await episodes.submit(FRAMES) for _ in range(before)]
    one_more = asyncio.create_task(episodes.submit(FRAMES))
    assert await waits(one_more)
    gate.open()
    handles.append(await one_more)
    gathered = await episodes.gather(handles)
    assert gathered.rewards[:, 0] == pytest.approx([at / 10 for at in range(1, before + 2)])


async def test_a_submission_that_is_cancelled_while_it_waits_takes_no_step(
    loop_client: AsyncRewardClient, core: ScriptedCore, gate: Gate
) -> None:
    episodes = await opened(loop_client, core, interval=1, max_in_flight_queries=N)
    handles = [await episodes.submit(FRAMES)]
    waiting = asyncio.create_task(episodes.submit(FRAMES))
    assert await waits(waiting)
    waiting.cancel()
    gate.open()
    handles.append(await episodes.submit(FRAMES))
    assert (await episodes.gather(handles)).step[:, 0].tolist() == [1, 2]


async def test_a_gathering_that_is_cancelled_leaves_the_steps_pending(
    loop_client: AsyncRewardClient, core: ScriptedCore, gate: Gate
) -> None:
    episodes = await opened(loop_client, core)
    handles = [await episodes.submit(FRAMES) for _ in range(3)]
    gathering = asyncio.create_task(episodes.gather(handles))
    assert await waits(gathering)
    gathering.cancel()
    gate.open()
    assert (await episodes.gather(handles)).valid.all()


async def test_an_episode_may_end_and_begin_again_while_steps_are_pending(
    loop_client: AsyncRewardClient, core: ScriptedCore, gate: Gate
) -> None:
    episodes = await opened(loop_client, core)
    final = np.array([False, True, False])
    handles = [await episodes.submit(FRAMES) for _ in range(2)]
    handles.append(await episodes.submit(FRAMES, final=final))
    with pytest.raises(EpisodeEnded, match="environment 1 "):
        await episodes.submit(FRAMES)
    await episodes.reset(FRAMES, final)
    handles += [await episodes.submit(FRAMES) for _ in range(2)]
    gate.open()
    gathered = await episodes.gather(handles)
    assert gathered.rewards[:, 1] == pytest.approx([0.0, 0.2, 0.3, 0.0, 0.2])
    assert gathered.step[:, 1].tolist() == [1, 2, 3, 1, 2]
    assert len(core.episodes) == N


async def test_a_step_is_taken_behind_what_is_pending(
    loop_client: AsyncRewardClient, core: ScriptedCore
) -> None:
    episodes = await opened(loop_client, core)
    handle = await episodes.submit()
    with pytest.raises(FrameRequired):
        await episodes.submit()
    rewards = await episodes.step(FRAMES)
    assert handle.done()
    assert (rewards.source.tolist(), rewards.step.tolist()) == (["queried"] * N, [2] * N)


@pytest.mark.parametrize("failure", ["raise", "hold", "mask"])
async def test_failures_follow_the_policy(
    loop_client: AsyncRewardClient, core: ScriptedCore, failure: str
) -> None:
    def answer(asked: Asked) -> float | pb.Problem:
        return problem("label_mass_low") if asked.step == 4 else by_step(asked)

    episodes = await opened(loop_client, core, failure=failure)
    core.answer = answer
    handles = [await episodes.submit(FRAMES) for _ in range(6)]
    if failure == "raise":
        with pytest.raises(RewardsFailed) as failed:
            await episodes.gather(handles)
        gathered = failed.value.rewards
    else:
        gathered = await episodes.gather(handles)
    words = ["neutral", "queried", "held", "failed", "failed", "queried"]
    assert gathered.source[:, 0].tolist() == words
    kept = 0.2 if failure == "hold" else np.nan
    expected = [0.0, 0.2, 0.2, kept, kept, 0.6]
    assert gathered.rewards[:, 0] == pytest.approx(expected, nan_ok=True)


async def test_a_call_that_fails_fails_its_step_alone(
    loop_client: AsyncRewardClient, core: ScriptedCore
) -> None:
    episodes = await opened(loop_client, core, interval=1, failure="mask")
    core.fail_next("StepEpisodes", *[DOWN] * N)
    handles = [await episodes.submit(FRAMES) for _ in range(4)]
    valid = (await episodes.gather(handles)).valid
    assert not valid[0].any()
    assert valid[-1].all()


async def test_a_reset_that_failed_behind_pending_steps_is_raised_by_gather(
    loop_client: AsyncRewardClient, core: ScriptedCore, gate: Gate
) -> None:
    episodes = await opened(loop_client, core)
    first = True, False, False
    handles = [await episodes.submit(FRAMES, final=first)]
    core.fail_next("OpenEpisodes", DOWN)
    await episodes.reset(FRAMES, first)
    handles.append(await episodes.submit(FRAMES))
    gate.open()
    with pytest.raises(LrmError, match="environment 0 was not reset: engine lost"):
        await episodes.gather(handles)
    assert (await episodes.gather(handles[:1])).valid.all()


async def test_handles_of_other_episodes_are_refused(
    loop_client: AsyncRewardClient, core: ScriptedCore
) -> None:
    episodes, others = await opened(loop_client, core), await opened(loop_client, core)
    handle = await others.submit()
    with pytest.raises(InvalidRequest, match="handle 0 was not submitted here"):
        await episodes.gather([handle])
    assert (await others.gather([handle])).valid.all()


async def test_closing_waits_for_what_is_pending(
    loop_client: AsyncRewardClient, core: ScriptedCore
) -> None:
    episodes = await opened(loop_client, core)
    handles = [await episodes.submit(FRAMES) for _ in range(2)]
    await episodes.close()
    assert core.episodes == {}
    assert (await episodes.gather(handles)).source[1].tolist() == ["queried"] * N
    await episodes.close()


async def test_leaving_by_an_exception_gives_up_what_is_pending(
    loop_client: AsyncRewardClient, core: ScriptedCore, gate: Gate
) -> None:
    handles = []

    async def stop(episodes: AsyncVectorEpisodes) -> None:
        async with episodes:
            handles.extend([await episodes.submit(FRAMES) for _ in range(4)])
            await reached(gate)
            raise ZeroDivisionError

    episodes = await opened(loop_client, core, interval=1)
    with pytest.raises(ZeroDivisionError):
        await stop(episodes)
    gate.open()
    assert core.episodes == {}
    with pytest.raises(EpisodeNotFound, match="closed before this step was sent"):
        await episodes.gather(handles)
