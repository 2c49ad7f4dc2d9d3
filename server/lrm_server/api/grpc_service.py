"""The gRPC service: translates a message, makes the call, translates the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire import reward_pb2_grpc
from lrm_server.api import from_wire, to_wire, wire_frames
from lrm_server.api.arrival import Arrival
from lrm_server.api.calls import Calls, Outcome
from lrm_server.api.grpc_guard import Context, Guard
from lrm_server.api.grpc_streams import messages
from lrm_server.api.items import FrameOrRefusal
from lrm_server.api.problems import internal_error
from lrm_server.api.trajectory_streams import answer
from lrm_server.callers import Priority
from lrm_server.errors import DomainError, invalid
from lrm_server.ops.health import Health

M = TypeVar("M")
T = TypeVar("T")


class RewardServicer(reward_pb2_grpc.RewardServiceServicer):
    """``lrm.v1.RewardService``; what each method does is written in the proto."""

    def __init__(self, calls: Calls, guard: Guard, health: Health) -> None:
        self._calls = calls
        self._guard = guard
        self._health = health

    async def Score(  # noqa: N802
        self, request: pb.ScoreRequest, context: Context
    ) -> pb.ScoreResponse:
        """Scores a batch of stateless queries, each answered on its own."""
        async with self._guard.call(context, "Score"):
            arrival = self._arrival(context)
            self._calls.require(len(request.queries), "queries")
            frames = await self._frames(request.frames)
            queries = _each(request.queries, lambda q: from_wire.query(q, frames, arrival.deadline))
            return to_wire.score_response(await self._calls.score(queries, arrival))

    async def OpenEpisodes(  # noqa: N802
        self, request: pb.OpenEpisodesRequest, context: Context
    ) -> pb.OpenEpisodesResponse:
        """Opens episodes, each answered on its own."""
        async with self._guard.call(context, "OpenEpisodes"):
            response = pb.OpenEpisodesResponse()
            self._calls.require(len(request.episodes), "episodes")
            outcomes = await self._calls.open(_each(request.episodes, from_wire.episode_spec))
            for index, outcome in enumerate(outcomes):
                response.results.append(to_wire.open_result(outcome, f"episodes[{index}]"))
            return response

    async def StepEpisodes(  # noqa: N802
        self, request: pb.StepEpisodesRequest, context: Context
    ) -> pb.StepEpisodesResponse:
        """Steps a batch of episodes, each answered on its own."""
        async with self._guard.call(context, "StepEpisodes"):
            response = pb.StepEpisodesResponse()
            arrival = self._arrival(context)
            self._calls.require(len(request.steps), "steps")
            frames = await self._frames(request.frames)
            steps = _each(
                request.steps, lambda s: from_wire.episode_step(s, frames, arrival.deadline)
            )
            outcomes = await self._calls.step(steps, arrival)
            for index, (asked, outcome) in enumerate(zip(request.steps, outcomes, strict=True)):
                result = response.results.add()
                to_wire.put_step(result, asked.episode, asked.step, outcome, f"steps[{index}]")
            return response

    async def StreamEpisode(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.StreamEpisodeRequest], context: Context
    ) -> AsyncIterator[pb.StreamEpisodeResponse]:
        """One episode over one stream. It stays open when the stream breaks."""
        async with self._guard.call(context, "StreamEpisode", Priority.INTERACTIVE):
            episode: str | None = None
            async for message in messages(context, self._health):
                response = pb.StreamEpisodeResponse()
                over = False
                if episode is None:
                    if message.WhichOneof("message") != "open":
                        raise invalid("open", "the first message of a stream opens its episode.")
                    self._calls.require(1, "episodes")
                    specs = _each([message.open], from_wire.episode_spec)
                    (opened,) = await self._calls.open(specs)
                    response.opened.CopyFrom(to_wire.open_result(opened, "open"))
                    over = isinstance(opened, DomainError)
                    episode = None if isinstance(opened, DomainError) else opened.id
                else:
                    if message.WhichOneof("message") != "step":
                        raise invalid("step", "after its first message a stream brings steps.")
                    outcome = await self._stream_step(episode, message.step, context)
                    to_wire.put_step(response.step, episode, message.step.step, outcome, "step")
                    over = message.step.final and not isinstance(outcome, DomainError)
                yield response
                if over:
                    return

    async def CloseEpisodes(  # noqa: N802
        self, request: pb.CloseEpisodesRequest, context: Context
    ) -> pb.CloseEpisodesResponse:
        """Closes episodes and says which were open."""
        async with self._guard.call(context, "CloseEpisodes"):
            response = pb.CloseEpisodesResponse()
            self._calls.require(len(request.episodes), "episodes")
            closed = await self._calls.close(list(request.episodes))
            for episode, was_open in zip(request.episodes, closed, strict=True):
                response.results.add(episode=episode, was_open=was_open)
            return response

    async def ScoreTrajectory(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ScoreTrajectoryRequest], context: Context
    ) -> AsyncIterator[pb.ScoreTrajectoryResponse]:
        """Scores a trajectory as its frames come, or a video when all of it has come."""
        async with self._guard.call(context, "ScoreTrajectory"):
            limits = self._calls.limits
            arrival = Arrival(limits.trajectory.seconds, context.time_remaining())
            sent = messages(context, self._health)
            answers = answer(self._calls, sent, arrival)
            async with aclosing(sent), aclosing(answers):
                async for response in answers:
                    yield response

    async def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """What is served and what requests are held to."""
        async with self._guard.call(context, "ListModels"):
            return to_wire.models_response(self._calls.catalogue, self._calls.limits)

    async def OpenRun(self, request: pb.OpenRunRequest, context: Context) -> pb.Run:  # noqa: N802
        """Opens a run, or changes how many queries it may ask."""
        async with self._guard.call(context, "OpenRun"):
            return to_wire.run(self._calls.runs.open(request.id, request.queries))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.Run:  # noqa: N802
        """Where a run stands."""
        async with self._guard.call(context, "GetRun"):
            return to_wire.run(self._calls.runs.get(request.id))

    async def CloseRun(  # noqa: N802
        self, request: pb.CloseRunRequest, context: Context
    ) -> pb.CloseRunResponse:
        """Closes a run and says whether it was open."""
        async with self._guard.call(context, "CloseRun"):
            return pb.CloseRunResponse(was_open=self._calls.runs.close(request.id))

    def _arrival(self, context: Context) -> Arrival:
        return Arrival(self._calls.limits.seconds, context.time_remaining())

    async def _frames(self, batch: pb.FrameBatch) -> list[FrameOrRefusal]:
        """The frames of a request, opened once each.

        Raises:
            DomainError: there are more than a request may have.
        """
        count = wire_frames.frame_count(batch)
        self._calls.require(count, "frames")
        if count == 0:
            return []
        # Hashing takes milliseconds for a learner's batch: other calls go on meanwhile.
        return await self._calls.beside(wire_frames.open_frames, batch, self._calls.limits)

    async def _stream_step(
        self, episode: str, step: pb.StreamEpisodeRequest.Step, context: Context
    ) -> Outcome[Any]:
        arrival = self._arrival(context)
        limits = self._calls.limits
        taken = await self._calls.beside(
            from_wire.stream_step, episode, step, limits, arrival.deadline
        )
        (outcome,) = await self._calls.step([taken], arrival)
        return outcome


def _each(items: Sequence[M], translate: Callable[[M], T]) -> list[Outcome[T]]:
    """Every message translated on its own; one that is wrong becomes its error."""

    def one(message: M) -> Outcome[T]:
        try:
            return translate(message)
        except DomainError as error:
            return error
        except Exception as error:
            return internal_error(error, translating=type(message).__name__)

    return [one(item) for item in items]
