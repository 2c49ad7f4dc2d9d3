"""The episodes of N environments that are stepped together, on an event loop."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from lrm_client.flows import AsyncSender, run_async
from lrm_client.rewards import Rewards
from lrm_client.vector_base import FramesSource, VectorBase, VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncVectorEpisodes(VectorBase):
    """As ``VectorEpisodes``, on an event loop, whose tasks take the place of ``submit``."""

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

    async def reset(
        self,
        frames: FramesSource,
        mask: ArrayLike | None = None,
        *,
        task: str | Sequence[str] | None = None,
    ) -> None:
        """As ``VectorEpisodes.reset``."""
        await run_async(self._reset(frames, mask, task), self._client)

    async def step(
        self,
        frames: FramesSource = None,
        *,
        final: ArrayLike | None = None,
        force: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Rewards:
        """As ``VectorEpisodes.step``."""
        return await run_async(self._step(frames, final, force, mask), self._client)

    async def close(self) -> None:
        """Closes all episodes on the server. Closing twice is no error."""
        await run_async(self._table.close(), self._client)

    async def __aenter__(self) -> AsyncVectorEpisodes:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
