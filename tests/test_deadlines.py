"""What is given up when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import time

import pytest

from lrm_server import deadlines
from lrm_server.errors import DomainError, ErrorCode


async def test_a_block_is_cancelled_at_its_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(DomainError) as refused:
        async with deadlines.within(began + 0.05):
            await asyncio.sleep(60)
    assert refused.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert 0.05 <= time.monotonic() - began < 30


async def test_without_a_deadline_a_block_runs_to_its_end() -> None:
    async with deadlines.within(None):
        await asyncio.sleep(0.01)


async def test_a_block_that_times_out_for_a_reason_of_its_own_says_so() -> None:
    with pytest.raises(TimeoutError):
        async with deadlines.within(time.monotonic() + 60):
            raise TimeoutError("of a camera")


async def test_a_task_that_is_cancelled_from_outside_is_cancelled() -> None:
    async def wait() -> None:
        async with deadlines.within(time.monotonic() + 60):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("deadline", [None, 60.0])
def test_what_is_in_time_passes(deadline: float | None) -> None:
    deadlines.check(None if deadline is None else time.monotonic() + deadline)


def test_what_is_late_is_refused() -> None:
    with pytest.raises(DomainError) as refused:
        deadlines.check(time.monotonic())
    assert refused.value.code is ErrorCode.DEADLINE_EXCEEDED
