"""Puts what comes at about the same time through a model together, and keeps what came out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from cachetools import LRUCache

Key = TypeVar("Key")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items for a bounded time and hands them to ``work`` as one batch.

    One batch is worked on at a time; what comes meanwhile is the next one. What fails
    fails for the batch.

    Args:
        work: takes a batch, gives a result for each item, in a thread of ``executor``.
        executor: where the work is done.
        most: items in a batch.
        wait_seconds: how long the first item of a batch waits for others.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        executor: Executor,
        *,
        most: int,
        wait_seconds: float,
    ) -> None:
        self._work = work
        self._executor = executor
        self._most = most
        self._wait_seconds = wait_seconds
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._full = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """The item's result; an item whose caller went away before its batch is dropped."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if len(self._waiting) >= self._most:
            self._full.set()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        try:
            while self._waiting:
                try:
                    async with asyncio.timeout(self._wait_seconds):
                        await self._full.wait()
                except TimeoutError:
                    pass
                await self._work_on(self._next())
        finally:
            self._running = None

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        wanted = [each for each in self._waiting if not each[1].done()]
        batch, self._waiting = wanted[: self._most], wanted[self._most :]
        if len(self._waiting) < self._most:
            self._full.clear()
        return batch

    async def _work_on(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(
                self._executor, self._work, [item for item, _ in batch]
            )
        except BaseException as error:
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, waiting), result in zip(batch, results, strict=True):
            if not waiting.done():
                waiting.set_result(result)


class Kept(Generic[Key, Result]):
    """Results by key: the last ``capacity`` of them, each made once at a time."""

    def __init__(self, capacity: int) -> None:
        self._ready: LRUCache[Key, Result] = LRUCache(capacity)
        self._pending: dict[Key, asyncio.Task[Result]] = {}

    async def get(self, key: Key, make: Callable[[], Awaitable[Result]]) -> Result:
        """What is kept, or what ``make`` gives; waits for another caller who makes the same."""
        if key in self._ready:
            return self._ready[key]
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = asyncio.ensure_future(self._make(key, make))
        # A caller who goes away must not take the result from the others.
        return await asyncio.shield(pending)

    async def _make(self, key: Key, make: Callable[[], Awaitable[Result]]) -> Result:
        try:
            self._ready[key] = made = await make()
        finally:
            del self._pending[key]
        return made
