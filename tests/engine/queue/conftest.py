"""Questions that hold their places until a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest_asyncio

from lrm_server.callers import Caller, Priority, asks
from lrm_server.engine.admission import Admission
from lrm_server.frames import Frame


class Asking:
    """Asks questions of an admission.

    Attributes:
        passed: the names of those that passed the queue, in order.
    """

    def __init__(self) -> None:
        self.passed: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ends: dict[asyncio.Task[None], asyncio.Event] = {}

    def ask(
        self,
        admission: Admission,
        client: str,
        priority: Priority = Priority.BATCH,
        *,
        deadline: float | None = None,
        frames: Sequence[Frame] = (),
    ) -> asyncio.Task[None]:
        """One question, which is being answered until ``answer`` is called for it."""
        end = asyncio.Event()

        async def question() -> None:
            async with admission.enter(deadline, frames):
                self.passed.append(client)
                await end.wait()

        with asks(Caller(client, priority)):
            task = asyncio.create_task(question())
        self._tasks.append(task)
        self._ends[task] = end
        return task

    def answer(self, *tasks: asyncio.Task[None]) -> None:
        """Ends questions; all of them when none is named."""
        for task in tasks or self._tasks:
            self._ends[task].set()

    async def settle(self) -> None:
        """Lets the loop turn until nothing moves any more."""
        for _ in range(4 * len(self._tasks) + 8):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Answers all there are."""
        self.answer()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Asking]:
    made = Asking()
    yield made
    await made.finish()
