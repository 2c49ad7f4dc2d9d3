"""A robot's frame is prepared while a learner's wait."""

from __future__ import annotations

import asyncio
import threading

from lrm_server.callers import Caller, Priority, asks
from lrm_server.threads import FrameThreads


async def test_urgent_work_does_not_wait_behind_a_learners() -> None:
    loop, held = asyncio.get_running_loop(), threading.Event()
    with FrameThreads(1, "frames") as threads:
        with asks(Caller("learner")):
            behind = [loop.run_in_executor(threads, held.wait, 30) for _ in range(8)]
        with asks(Caller("robot", Priority.INTERACTIVE)):
            urgent = loop.run_in_executor(threads, threading.current_thread)
        try:
            thread = await asyncio.wait_for(urgent, 10)
            assert thread.name.startswith("frames-interactive")
            assert not any(work.done() for work in behind)
        finally:
            held.set()
        assert await asyncio.gather(*behind) == [True] * 8
