"""Several things awaited at once."""

from __future__ import annotations

import asyncio

import pytest

from lrm_server.together import together


async def test_results_come_in_the_order_of_the_work() -> None:
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert await together(after(seconds) for seconds in (0.02, 0.0, 0.01)) == [0.02, 0.0, 0.01]
    assert await together([]) == []


async def test_several_run_at_once() -> None:
    met = asyncio.Barrier(3)

    async def meet() -> None:
        async with asyncio.timeout(30):
            await met.wait()

    await together(meet() for _ in range(3))


async def test_one_alone_runs_in_the_task_of_its_caller() -> None:
    async def task() -> asyncio.Task[object] | None:
        return asyncio.current_task()

    assert await together([task()]) == [asyncio.current_task()]


async def test_the_first_failure_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await together(asyncio.sleep(0.01) if at else fail() for at in range(2))
