"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from lrm_server.callers import Priority, current_caller

P = ParamSpec("P")
T = TypeVar("T")


class FrameThreads(Executor):
    """A fixed number of threads for frames, and as many for those of robots.

    So the frame of a robot does not wait behind the hundreds that a learner sends at once.

    Args:
        threads: of each kind.
        name: of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pools = {
            priority: ThreadPoolExecutor(threads, f"{name}-{priority.value}")
            for priority in Priority
        }

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Does work for the current task's caller."""
        return self._pools[current_caller().priority].submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more work."""
        for pool in self._pools.values():
            pool.shutdown(wait, cancel_futures=cancel_futures)


async def in_daemon_thread(work: Callable[[], T]) -> T:
    """Waits for blocking work in a thread of its own.

    Unlike with ``asyncio.to_thread``, a process that was told to stop does not wait
    for it: loading a large checkpoint takes minutes and cannot be interrupted.

    Raises:
        Exception: whatever the work raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        # The loop may be closed when nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return await done


async def imported(name: str) -> Any:
    """A module that takes long to import; the event loop goes on meanwhile.

    Raises:
        ImportError: there is none of that name.
    """
    return await in_daemon_thread(lambda: importlib.import_module(name))
