"""The episodes of N environments that are stepped together, on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from lrm_client.connection import ResultT
from lrm_client.flows import AsyncSender, Flow, run_async
from lrm_client.in_flight import AsyncRoom, Load, size
from lrm_client.rewards import Rewards, RolloutRewards
from lrm_client.submitting import HandleBase, Submitting
from lrm_client.vector_base import FramesSource, VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncStepHandle(HandleBase[asyncio.Task[Any]]):
    """A submitted step, whose rewards ``AsyncVectorEpisodes.gather`` returns."""

    async def wait(self) -> None:
        """Waits until the step is answered or has failed."""
        await asyncio.wait([self._pending])


class AsyncVectorEpisodes(Submitting[asyncio.Task[Any]]):
    """As ``VectorEpisodes``, on an event loop, whose tasks take the place of its thread.

    Not for several tasks at once. Bounds are waited for without blocking the loop.
    """

    def __init__(
        self,
        client: AsyncSender,
        num_envs: int,
        task: str | Sequence[str],
        heads: Sequence[str],
        **options: Unpack[VectorOptions],
    ) -> None:
        super().__init__(client, num_envs, task, heads, **options)
        self._client = client
        self._room = AsyncRoom(self._bounds)
        self._turn = asyncio.Lock()

    async def reset(
        self,
        frames: FramesSource,
        mask: ArrayLike | None = None,
        *,
        task: str | Sequence[str] | None = None,
    ) -> None:
        """As ``VectorEpisodes.reset``."""
        encoded, offset = self._initial(frames, mask), self._offset()
        flow = self._reset(encoded, task, offset)
        if self._settled():
            await run_async(flow, self._client)
            return
        load = Load(0, size(encoded.values()))
        await self._room.acquire(load)
        self._begin_ahead(encoded, offset)
        self._resets.append(self._queue(flow, load))

    async def step(
        self,
        frames: FramesSource = None,
        *,
        final: ArrayLike | None = None,
        force: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Rewards:
        """As ``VectorEpisodes.step``."""
        await self._drain()
        return await run_async(self._step(frames, final, force, mask), self._client)

    async def submit(
        self,
        frames: FramesSource = None,
        *,
        final: ArrayLike | None = None,
        force: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> AsyncStepHandle:
        """As ``VectorEpisodes.submit``; what waits is the wait for room alone."""
        step = self._submission(frames, final, force, mask)
        await self._room.acquire(step.load)
        self._foresee(step)
        return AsyncStepHandle(self._queue(self._taking(step), step.load), self)

    async def gather(self, handles: Sequence[AsyncStepHandle]) -> RolloutRewards:
        """As ``VectorEpisodes.gather``. Cancelled, it leaves the steps pending."""
        self._check_handles(handles)
        for handle in handles:
            await handle.wait()
        return self._gathered(handles)

    async def close(self) -> None:
        """As ``VectorEpisodes.close``."""
        await self._wait()
        self._settled()
        self._resets.clear()
        await run_async(self._table.close(), self._client)

    async def __aenter__(self) -> AsyncVectorEpisodes:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon()
        await self.close()

    def _queue(self, flow: Flow[ResultT], load: Load) -> asyncio.Task[ResultT]:
        """Runs work behind what is pending."""

        async def take_turn() -> ResultT:
            # The lock is handed on in the order in which it was asked for.
            async with self._turn:
                return await run_async(flow, self._client)

        def leave(ended: asyncio.Task[ResultT]) -> None:
            self._room.release(load)
            if not ended.cancelled():
                # A handle raises the error; the loop need not log one that was dropped.
                ended.exception()

        task = asyncio.create_task(take_turn())
        task.add_done_callback(leave)
        self._pending.append(task)
        return task

    async def _wait(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending)

    async def _drain(self) -> None:
        await self._wait()
        self._settled()
        self._raise_resets()
