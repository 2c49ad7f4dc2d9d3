"""The client of an event loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from lrm_client import calls
from lrm_client.async_vector_episodes import AsyncVectorEpisodes
from lrm_client.client_base import ClientBase
from lrm_client.connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TIMEOUT,
    AsyncTransport,
    Call,
    Priority,
    ResultT,
    Retry,
)
from lrm_client.episodes import AsyncEpisode
from lrm_client.errors import LrmError
from lrm_client.frames import FrameEncoder, FrameLike
from lrm_client.rewards import FailurePolicy
from lrm_client.trajectories import TrajectoryLike, TrajectoryOptions, TrajectoryScores
from lrm_client.trajectory_answers import prepared
from lrm_client.transport_grpc import AsyncGrpcTransport
from lrm_client.transport_http import AsyncHttpTransport
from lrm_client.types import (
    EpisodeOptions,
    EpisodeSpec,
    EpisodeStep,
    OpenedEpisode,
    Query,
    QueryOptions,
    Reply,
    ServedModels,
    StepReply,
)
from lrm_client.vector_base import VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncRewardClient(ClientBase):
    """As ``RewardClient``, on an event loop."""

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = None,
        encoder: FrameEncoder | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        run: str | None = None,
        shared_memory: bool = False,
        name: str | None = None,
        priority: Priority | None = None,
    ) -> None:
        super().__init__(
            target,
            token=token,
            timeout=timeout,
            retry=retry,
            encoder=encoder,
            max_message_bytes=max_message_bytes,
            run=run,
            shared_memory=shared_memory,
            name=name,
            priority=priority,
        )
        self._transport: AsyncTransport = (
            AsyncGrpcTransport(self._connection)
            if self._connection.target.protocol == "grpc"
            else AsyncHttpTransport(self._connection)
        )

    async def send(self, call: Call[ResultT]) -> ResultT:
        """Sends a prepared call; the other methods end here.

        Raises:
            LrmError: the call failed as a whole.
        """
        timeout = self._connection.deadline(call.timeout)
        with call.lease or nullcontext():
            if call.lease is not None and not self._reads_shared_memory:
                self._take_offer(await self.send(calls.shared_memory(timeout)))
            response = await self._transport.call(call.method, call.request, timeout, call.priority)
        return call.read(response)

    async def score(self, query: Query, *, timeout: float | None = None) -> Reply:
        """Asks one query.

        Raises:
            LrmError: the query failed, or the call did.
        """
        return calls.only(await self.score_batch([query], timeout=timeout))

    async def score_batch(
        self, queries: Sequence[Query], *, timeout: float | None = None
    ) -> list[Reply | LrmError]:
        """Asks several queries in one call. A query that failed gives its error in its place.

        Raises:
            LrmError: the call failed as a whole.
        """
        return await self.send(calls.score(queries, self._encoder, timeout))

    async def contrastive(
        self,
        previous: FrameLike,
        current: FrameLike,
        task: str,
        *,
        timeout: float | None = None,
        **options: Unpack[QueryOptions],
    ) -> Reply:
        """Which of two frames is closer to the goal: value +1 for current, -1 for previous.

        Frames are uint8 (H, W, 3); see ``Query`` for the options.

        Raises:
            LrmError: the query failed, or the call did.
        """
        query = Query("contrastive", task, current=current, previous=previous, **options)
        return await self.score(query, timeout=timeout)

    async def progress(
        self,
        current: FrameLike,
        task: str,
        *,
        timeout: float | None = None,
        **options: Unpack[QueryOptions],
    ) -> Reply:
        """How far the task has come: value 0.0 to 1.0 in steps of 0.1.

        Frames are uint8 (H, W, 3); see ``Query`` for the options.

        Raises:
            LrmError: the query failed, or the call did.
        """
        return await self.score(
            Query("progress", task, current=current, **options), timeout=timeout
        )

    async def completion(
        self,
        current: FrameLike,
        task: str,
        *,
        timeout: float | None = None,
        **options: Unpack[QueryOptions],
    ) -> Reply:
        """Whether the task is done: value 0 or 1.

        Frames are uint8 (H, W, 3); see ``Query`` for the options.

        Raises:
            LrmError: the query failed, or the call did.
        """
        return await self.score(
            Query("completion", task, current=current, **options), timeout=timeout
        )

    async def score_trajectory(
        self,
        frames: TrajectoryLike,
        task: str,
        heads: Sequence[str],
        *,
        timeout: float | None = None,
        **options: Unpack[TrajectoryOptions],
    ) -> TrajectoryScores:
        """Scores frames, or the bytes of a video file, in the order of time.

        See ``TrajectoryOptions`` for the options. Ten minutes unless ``timeout`` says.

        Raises:
            TrajectoryFailed: frames have no value; the others are in it.
            LrmError: the trajectory failed as a whole.
        """
        sent, collected = prepared(frames, task, heads, self._encoder, options)
        if self._encoder.shared is not None and not self._reads_shared_memory:
            self._take_offer(await self.send(calls.shared_memory()))
        answers = self._transport.trajectory(sent, self._trajectory_deadline(timeout))
        async for response in answers:
            collected.take(response)
        return collected.scores()

    async def models(self, *, timeout: float | None = None) -> ServedModels:
        """Names the models that are served, their heads, the server's limits and version.

        Raises:
            LrmError: the call failed.
        """
        return await self.send(calls.models(timeout))

    def episode(
        self,
        task: str,
        heads: Sequence[str],
        *,
        failure: FailurePolicy = "raise",
        **options: Unpack[EpisodeOptions],
    ) -> AsyncEpisode:
        """An episode of one robot, to be reset with its initial frame.

        See ``EpisodeSpec`` for the options and ``HeadStep`` for the failure policy.
        """
        spec = EpisodeSpec(task, heads, **options)
        return AsyncEpisode(self, spec, failure=failure)

    def vector_episodes(
        self,
        num_envs: int,
        task: str | Sequence[str],
        heads: Sequence[str],
        **options: Unpack[VectorOptions],
    ) -> AsyncVectorEpisodes:
        """The episodes of N environments; see ``VectorEpisodes``."""
        return AsyncVectorEpisodes(self, num_envs, task, heads, **options)

    async def open_episodes(
        self, specs: Iterable[EpisodeSpec], *, timeout: float | None = None
    ) -> list[OpenedEpisode | LrmError]:
        """Opens episodes in one call. One that is not open gives its error in its place.

        Raises:
            LrmError: the call failed as a whole.
        """
        return await self.send(calls.open_episodes(specs, timeout))

    async def step_episodes(
        self, steps: Sequence[EpisodeStep], *, timeout: float | None = None
    ) -> list[StepReply | LrmError]:
        """Steps episodes in one call. A step that was refused gives its error in its place.

        Raises:
            LrmError: the call failed as a whole.
        """
        return await self.send(calls.step_episodes(steps, self._encoder, timeout))

    async def close_episodes(
        self, episodes: Iterable[str], *, timeout: float | None = None
    ) -> dict[str, bool]:
        """Closes episodes; whether each was open, by id. Closing twice is no error.

        Raises:
            LrmError: the call failed.
        """
        return await self.send(calls.close_episodes(episodes, timeout))

    async def close(self) -> None:
        """Drops the connection. Episodes stay open on the server until it drops them."""
        await self._transport.close()
        self._close_shared_memory()

    async def __aenter__(self) -> AsyncRewardClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
