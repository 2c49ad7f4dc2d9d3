"""The client that blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from lrm_client import calls
from lrm_client.client_base import ClientBase
from lrm_client.connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TIMEOUT,
    Call,
    Priority,
    ResultT,
    Retry,
    Transport,
)
from lrm_client.episodes import Episode
from lrm_client.errors import LrmError
from lrm_client.frames import FrameEncoder, FrameLike
from lrm_client.rewards import FailurePolicy
from lrm_client.robot_session import RobotOptions, RobotSession
from lrm_client.trajectories import TrajectoryLike, TrajectoryOptions, TrajectoryScores
from lrm_client.trajectory_answers import prepared
from lrm_client.transport_grpc import GrpcTransport
from lrm_client.transport_http import HttpTransport
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
from lrm_client.vector_episodes import VectorEpisodes

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RewardClient(ClientBase):
    """A blocking client of a reward-model server, safe for several threads.

    Args:
        target: ``host:port`` or ``grpc://host:port`` for gRPC, ``grpcs://`` with TLS, or
            an ``http://`` or ``https://`` URL.
        token: sent as a bearer token; needed by servers off loopback.
        timeout: seconds that a call may take, retries included; each method takes its own.
        retry: how often a call is tried when the server is unavailable or full.
        encoder: how frames are encoded.
        max_message_bytes: limit of a request and of a response, 64 MiB unless told
            otherwise; the server has its own.
        run: id of the run that asks, whose queries the server counts and bounds; None for
            no bound.
        shared_memory: hand raw frames to a server on this machine in memory that it reads;
            see ``lrm_client.shared_memory``. Over gRPC, on Linux, as the server's user.
        name: by which the server tells clients apart, which take turns in its queue; a random
            one unless it is given. Clients of one name share one turn.
        priority: ``interactive`` for a robot, which is answered before ``batch``. Unless it is
            given, robot sessions are interactive and all else is batch.

    Raises:
        ValueError: a target that is none, or a number out of range.
    """

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
        self._transport: Transport = (
            GrpcTransport(self._connection)
            if self._connection.target.protocol == "grpc"
            else HttpTransport(self._connection)
        )

    def send(self, call: Call[ResultT]) -> ResultT:
        """Sends a prepared call; the other methods end here.

        Raises:
            LrmError: the call failed as a whole.
        """
        timeout = self._connection.deadline(call.timeout)
        with call.lease or nullcontext():
            if call.lease is not None and not self._reads_shared_memory:
                self._take_offer(self.send(calls.shared_memory(timeout)))
            response = self._transport.call(call.method, call.request, timeout, call.priority)
        return call.read(response)

    def score(self, query: Query, *, timeout: float | None = None) -> Reply:
        """Asks one query.

        Raises:
            LrmError: the query failed, or the call did.
        """
        return calls.only(self.score_batch([query], timeout=timeout))

    def score_batch(
        self, queries: Sequence[Query], *, timeout: float | None = None
    ) -> list[Reply | LrmError]:
        """Asks several queries in one call. A query that failed gives its error in its place.

        Raises:
            LrmError: the call failed as a whole.
        """
        return self.send(calls.score(queries, self._encoder, timeout))

    def contrastive(
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
        return self.score(query, timeout=timeout)

    def progress(
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
        query = Query("progress", task, current=current, **options)
        return self.score(query, timeout=timeout)

    def completion(
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
        query = Query("completion", task, current=current, **options)
        return self.score(query, timeout=timeout)

    def score_trajectory(
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
            self._take_offer(self.send(calls.shared_memory()))
        answers = self._transport.trajectory(sent, self._trajectory_deadline(timeout))
        for response in answers:
            collected.take(response)
        return collected.scores()

    def models(self, *, timeout: float | None = None) -> ServedModels:
        """Names the models that are served, their heads, the server's limits and version.

        Raises:
            LrmError: the call failed.
        """
        return self.send(calls.models(timeout))

    def episode(
        self,
        task: str,
        heads: Sequence[str],
        *,
        failure: FailurePolicy = "raise",
        **options: Unpack[EpisodeOptions],
    ) -> Episode:
        """An episode of one robot, to be reset with its initial frame.

        See ``EpisodeSpec`` for the options and ``HeadStep`` for the failure policy.
        """
        spec = EpisodeSpec(task, heads, **options)
        return Episode(self, spec, failure=failure)

    def vector_episodes(
        self,
        num_envs: int,
        task: str | Sequence[str],
        heads: Sequence[str],
        **options: Unpack[VectorOptions],
    ) -> VectorEpisodes:
        """The episodes of N environments; see ``VectorEpisodes``."""
        return VectorEpisodes(self, num_envs, task, heads, **options)

    def robot_session(
        self, task: str, heads: Sequence[str], *, rate_hz: float, **options: Unpack[RobotOptions]
    ) -> RobotSession:
        """Rewards inside a robot's control loop, which waits for none; see ``RobotSession``."""
        return RobotSession(self, task, heads, rate_hz=rate_hz, **options)

    def open_episodes(
        self, specs: Iterable[EpisodeSpec], *, timeout: float | None = None
    ) -> list[OpenedEpisode | LrmError]:
        """Opens episodes in one call. One that is not open gives its error in its place.

        Raises:
            LrmError: the call failed as a whole.
        """
        return self.send(calls.open_episodes(specs, timeout))

    def step_episodes(
        self, steps: Sequence[EpisodeStep], *, timeout: float | None = None
    ) -> list[StepReply | LrmError]:
        """Steps episodes in one call. A step that was refused gives its error in its place.

        Raises:
            LrmError: the call failed as a whole.
        """
        return self.send(calls.step_episodes(steps, self._encoder, timeout))

    def close_episodes(
        self, episodes: Iterable[str], *, timeout: float | None = None
    ) -> dict[str, bool]:
        """Closes episodes; whether each was open, by id. Closing twice is no error.

        Raises:
            LrmError: the call failed.
        """
        return self.send(calls.close_episodes(episodes, timeout))

    def close(self) -> None:
        """Drops the connection. Episodes stay open on the server until it drops them."""
        self._transport.close()
        self._close_shared_memory()

    def __enter__(self) -> RewardClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
