"""The bounds of the memory store, and what it forgets."""

from __future__ import annotations

import pytest

from lrm_client.clock import ClockConfig
from lrm_server.episodes.state import Episode, open_episode
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.episodes.support import SIDE, Bench, failing, frame, shown, sources, spec

EVERY_STEP = ClockConfig(interval=1)
FRAME_BYTES = SIDE * SIDE * 3
MIB = 1024 * 1024


def room_for(frames: float) -> Bench:
    """A service whose store has room for so many frames."""
    return Bench(max_frame_mib=frames * FRAME_BYTES / MIB)


async def test_a_full_store_refuses_new_episodes_and_drops_no_live_one() -> None:
    bench = Bench(max_episodes=2)
    await bench.open("progress", episode="a")
    await bench.open("progress", episode="b")
    refused = await bench.refusal_of(spec("progress", episode="c"))
    assert refused.code is ErrorCode.OVERLOADED
    assert "max_episodes" in refused.message
    for name in ("a", "b"):
        await bench.open("progress", episode=name)
        assert (await bench.take(0, episode=name)).episode == name
    await bench.service.close(["a"])
    await bench.open("progress", episode="c")


async def test_an_idle_episode_makes_way_for_a_new_one() -> None:
    bench = Bench(max_episodes=2, idle_seconds=60)
    await bench.open("progress", episode="idle")
    await bench.open("progress", episode="live")
    bench.now = 59.0
    await bench.take(0, episode="live")
    bench.now = 60.0
    await bench.open("progress", episode="new")
    assert (await bench.refused(0, episode="idle")).code is ErrorCode.EPISODE_NOT_FOUND
    assert (await bench.take(1, episode="live")).step == 1


async def test_steps_keep_an_episode_and_idleness_lets_its_frames_go() -> None:
    bench = Bench(idle_seconds=60)
    await bench.open("contrastive")
    for number in range(5):
        bench.now += 59.0
        await bench.take(number)
    assert bench.service.open_count == 1
    bench.now += 60.0
    assert (bench.service.open_count, bench.service.frame_bytes) == (0, 0)
    assert (await bench.refused(5)).code is ErrorCode.EPISODE_NOT_FOUND


async def test_a_refused_step_a_retry_and_an_opening_are_uses_as_well() -> None:
    bench = Bench(idle_seconds=60)
    await bench.open("progress")
    await bench.take(0)
    bench.now += 59.0
    await bench.refused(0, frame=frame(9))
    bench.now += 59.0
    await bench.take(0)
    bench.now += 59.0
    await bench.open("progress")
    bench.now += 59.0
    assert (await bench.take(1)).step == 1


async def test_idleness_is_counted_from_the_answer_to_a_step() -> None:
    bench = Bench(idle_seconds=60)

    async def think(query: Query) -> None:
        bench.now += 59.0

    bench.scorer.pause = think
    await bench.open("progress", clock=EVERY_STEP)
    await bench.run_to(1)
    bench.now += 59.0
    assert (await bench.take(2)).step == 2


async def test_an_expired_id_opens_from_the_start() -> None:
    bench = Bench(idle_seconds=60)
    await bench.open("progress")
    await bench.run_to(4)
    bench.now = 60.0
    await bench.open("completion")
    assert (await bench.take(0)).step == 0


async def test_frames_beyond_the_memory_are_refused_before_anyone_is_asked() -> None:
    bench = room_for(2)
    for name in ("a", "b"):
        await bench.open("contrastive", episode=name, clock=EVERY_STEP)
        await bench.take(0, episode=name)
    await bench.open("contrastive", episode="c", clock=EVERY_STEP)
    refused = await bench.refused(0, episode="c")
    assert refused.code is ErrorCode.OVERLOADED
    assert "max_episode_memory_mib" in refused.message
    assert bench.service.frame_bytes == 2 * FRAME_BYTES
    await bench.service.close(["a"])
    assert (await bench.take(0, episode="c")).step == 0


async def test_a_refused_step_can_be_sent_again_when_there_is_room() -> None:
    bench = room_for(3)
    await bench.open("progress", "contrastive", episode="a")
    await bench.open("progress", episode="b")
    await bench.open("progress", episode="c")
    for name in ("b", "c"):
        await bench.take(0, episode=name)
    await bench.run_to(2, episode="a")
    refused = await bench.refused(3, episode="a")
    assert refused.code is ErrorCode.OVERLOADED
    assert bench.scorer.queries == []
    await bench.service.close(["c"])
    assert set(sources(await bench.take(3, episode="a")).values()) == {"queried"}


async def test_a_full_memory_lets_episodes_run_on_that_do_not_grow() -> None:
    bench = room_for(1)
    await bench.open("contrastive", clock=EVERY_STEP)
    answer = await bench.run_to(5)
    assert sources(answer) == {"contrastive": "queried"}
    assert bench.service.frame_bytes == FRAME_BYTES


async def test_a_failed_query_leaves_the_accounts_right() -> None:
    bench = room_for(2)
    bench.scorer.answers = lambda query: (
        failing() if shown(query, Role.CURRENT).step == 1 else 0.5
    )
    await bench.open("progress", "contrastive", clock=EVERY_STEP)
    await bench.run_to(1)
    assert bench.service.frame_bytes == FRAME_BYTES
    await bench.take(2)
    assert bench.service.frame_bytes == 2 * FRAME_BYTES


async def test_only_what_is_kept_can_be_replaced(bench: Bench) -> None:
    catalogue = bench.scorer.catalogue
    first = open_episode(spec("progress"), catalogue)
    assert await bench.store.add(first) is first
    assert await bench.store.add(open_episode(spec("completion"), catalogue)) is first
    second = first._replace(frames={0: frame(0)})
    assert await bench.store.replace(first, second)
    assert bench.store.frame_bytes == FRAME_BYTES
    assert not await bench.store.replace(first, first._replace())
    assert await bench.store.get("e") is second
    await bench.store.remove("e")
    assert not await bench.store.replace(second, first)
    assert bench.store.frame_bytes == 0


async def test_a_reservation_is_given_back_and_a_stranger_gets_none() -> None:
    bench = room_for(2)
    episode = open_episode(spec("progress"), bench.scorer.catalogue)
    await bench.store.add(episode)
    await bench.store.reserve(episode, 2 * FRAME_BYTES)
    assert bench.store.frame_bytes == 2 * FRAME_BYTES
    with pytest.raises(DomainError):
        await bench.store.reserve(episode, 3 * FRAME_BYTES)
    await bench.store.reserve(episode, episode.frame_bytes)
    assert bench.store.frame_bytes == 0
    stranger: Episode = episode._replace()
    await bench.store.reserve(stranger, FRAME_BYTES)
    assert bench.store.frame_bytes == 0
