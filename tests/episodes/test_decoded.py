"""The bound on pixels that are decoded at once."""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lrm_client.clock import ClockConfig
from lrm_server.callers import Caller, Priority, asks
from lrm_server.episodes.decoded import DecodedFrames
from lrm_server.episodes.types import StepAnswer
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.episodes.support import Bench, step

SIDE = 64
PIXEL_BYTES = SIDE * SIDE * 3


def png(shade: int = 0, side: int = SIDE) -> Frame:
    """A frame of one colour: few bytes, many pixels."""
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), shade, np.uint8)).save(file, "PNG")
    return open_frame(file.getvalue(), Encoding.PNG, FrameLimits())


class Holder:
    """A task that holds frames until it is told to leave."""

    def __init__(self, decoded: DecodedFrames, *frames: Frame) -> None:
        self.inside = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(decoded, frames))

    async def _hold(self, decoded: DecodedFrames, frames: tuple[Frame, ...]) -> None:
        async with decoded.hold(frames):
            self.inside = True
            for frame in frames:
                frame.pixels()
            await self._leave.wait()
        self.inside = False

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def settled() -> None:
    """Lets every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_frames_beyond_the_bound_wait_in_the_order_of_coming() -> None:
    decoded = DecodedFrames(2 * PIXEL_BYTES)
    first, second, third, fourth = (Holder(decoded, png(n)) for n in range(4))
    await settled()
    assert [h.inside for h in (first, second, third, fourth)] == [True, True, False, False]
    assert decoded.held_bytes == 2 * PIXEL_BYTES
    await second.leave()
    await settled()
    assert (third.inside, fourth.inside) == (True, False)
    await first.leave()
    await settled()
    assert fourth.inside
    await asyncio.gather(third.leave(), fourth.leave())
    assert decoded.held_bytes == 0


async def test_a_small_frame_does_not_overtake_a_large_one_that_waits() -> None:
    decoded = DecodedFrames(2 * PIXEL_BYTES)
    small = Holder(decoded, png())
    large = Holder(decoded, png(1), png(2))
    late = Holder(decoded, png(3))
    await settled()
    assert (small.inside, large.inside, late.inside) == (True, False, False)
    await small.leave()
    await settled()
    assert (large.inside, late.inside) == (True, False)
    await large.leave()
    await late.leave()


async def test_a_robot_finds_room_beside_learners_and_goes_before_those_that_wait() -> None:
    decoded = DecodedFrames(8 * PIXEL_BYTES)
    learners = [Holder(decoded, png(shade)) for shade in range(10)]
    await settled()
    assert sum(each.inside for each in learners) == 8
    with asks(Caller("robot", Priority.INTERACTIVE)):
        robots = [Holder(decoded, png(100)), Holder(decoded, png(101))]
    await settled()
    assert [each.inside for each in robots] == [True, False]
    await learners[0].leave()
    await settled()
    assert [each.inside for each in robots] == [True, True]
    assert sum(each.inside for each in learners) == 7
    for each in (*learners[1:8], *robots):
        await each.leave()
    await settled()
    assert all(each.inside for each in learners[8:])
    for each in learners[8:]:
        await each.leave()
    assert decoded.held_bytes == 0


async def test_a_frame_over_the_bound_passes_alone() -> None:
    decoded = DecodedFrames(PIXEL_BYTES - 1)
    first, second = Holder(decoded, png(1)), Holder(decoded, png(2))
    await settled()
    assert (first.inside, second.inside) == (True, False)
    await first.leave()
    await settled()
    assert second.inside
    await second.leave()


async def test_a_frame_of_several_holders_counts_once_and_stays_decoded_for_the_last() -> None:
    decoded, shared = DecodedFrames(PIXEL_BYTES), png()
    first, second = Holder(decoded, shared), Holder(decoded, shared)
    await settled()
    assert (first.inside, second.inside) == (True, True)
    assert decoded.held_bytes == PIXEL_BYTES
    await first.leave()
    assert shared._pixels is not None
    await second.leave()
    assert shared._pixels is None
    assert decoded.held_bytes == 0


async def test_one_who_gives_up_waiting_makes_way_for_those_behind() -> None:
    decoded = DecodedFrames(2 * PIXEL_BYTES)
    first = Holder(decoded, png())
    large = Holder(decoded, png(1), png(2))
    small = Holder(decoded, png(3))
    await settled()
    large.task.cancel()
    await settled()
    assert small.inside
    assert decoded.held_bytes == 2 * PIXEL_BYTES
    await asyncio.gather(first.leave(), small.leave())
    assert decoded.held_bytes == 0


async def test_one_who_is_let_in_and_cancelled_at_once_leaves_its_room_to_others() -> None:
    decoded = DecodedFrames(PIXEL_BYTES)
    async with decoded.hold([png()]):
        second, third = Holder(decoded, png(1)), Holder(decoded, png(2))
        await settled()
    # The second was let in just now and has not run since.
    second.task.cancel()
    await settled()
    assert second.task.cancelled()
    assert not second.inside
    assert third.inside
    await third.leave()
    assert decoded.held_bytes == 0


async def test_one_who_waits_past_its_deadline_is_refused() -> None:
    decoded = DecodedFrames(PIXEL_BYTES)
    first = Holder(decoded, png())
    await settled()
    with pytest.raises(DomainError) as caught:
        async with decoded.hold([png(1)], time.monotonic() + 0.01):
            raise AssertionError("there is no room")
    assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED
    await first.leave()
    assert decoded.held_bytes == 0


async def test_a_batch_keeps_few_frames_decoded_and_decodes_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decodings: Counter[bytes] = Counter()
    decode = Frame._decode

    def counted(self: Frame) -> object:
        decodings[self.digest] += 1
        return decode(self)

    monkeypatch.setattr(Frame, "_decode", counted)
    bench = Bench(max_decoded_bytes=3 * PIXEL_BYTES)
    frames = [png(shade) for shade in range(12)]
    most = 0

    async def look(query: Query) -> None:
        nonlocal most
        await asyncio.sleep(0.002)
        query.frames[Role.CURRENT].pixels()
        most = max(most, sum(frame._pixels is not None for frame in frames))

    bench.scorer.pause = look
    for n in range(len(frames)):
        await bench.open("completion", episode=str(n), clock=ClockConfig(interval=1))
        await bench.take(0, episode=str(n))
    decodings.clear()
    answers = await bench.service.step(
        [step(1, episode=str(n), frame=frame) for n, frame in enumerate(frames)]
    )
    assert all(isinstance(answer, StepAnswer) for answer in answers)
    assert 2 <= most <= 3
    assert decodings == {frame.digest: 1 for frame in frames}
    assert all(frame._pixels is None for frame in frames)


async def test_frames_that_a_query_compares_with_count_too() -> None:
    bench = Bench(max_decoded_bytes=2 * PIXEL_BYTES)
    names = ["a", "b"]
    for shade, name in enumerate(names):
        await bench.open("contrastive", episode=name, clock=ClockConfig(interval=1))
        await bench.take(0, episode=name, frame=png(shade))
    bench.scorer.pause = lambda query: asyncio.sleep(0.002)
    await bench.service.step(
        [step(1, episode=name, frame=png(9 + n)) for n, name in enumerate(names)]
    )
    assert bench.scorer.most_running == 1


async def test_a_cancelled_batch_gives_its_room_back() -> None:
    bench = Bench(max_decoded_bytes=PIXEL_BYTES)
    for name in ("a", "b"):
        await bench.open("completion", episode=name, clock=ClockConfig(interval=1))
        await bench.take(0, episode=name)
    bench.scorer.pause = lambda query: asyncio.sleep(60)
    steps = [step(1, episode=name, frame=png(1)) for name in ("a", "b")]
    batch = asyncio.create_task(bench.service.step(steps))
    while not bench.scorer.running:
        await asyncio.sleep(0.001)
    batch.cancel()
    await asyncio.wait({batch})
    bench.scorer.pause = None
    answers = await asyncio.wait_for(bench.service.step(steps), 10)
    assert all(isinstance(answer, StepAnswer) for answer in answers)
