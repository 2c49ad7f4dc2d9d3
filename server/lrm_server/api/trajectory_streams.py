"""A trajectory that comes as a stream of messages, and what is answered to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from lrm_client.wire import reward_pb2 as pb
from lrm_server.api import from_wire, to_wire, wire_frames
from lrm_server.api.arrival import Arrival
from lrm_server.api.calls import Calls
from lrm_server.deadlines import within
from lrm_server.errors import DomainError, invalid
from lrm_server.trajectories.frame_source import Arrived, FrameSource
from lrm_server.trajectories.service import TrajectoryService
from lrm_server.trajectories.types import Source, TrajectorySpec
from lrm_server.trajectories.video_source import VideoSource


async def answer(
    calls: Calls,
    messages: AsyncIterator[pb.ScoreTrajectoryRequest],
    arrival: Arrival,
) -> AsyncGenerator[pb.ScoreTrajectoryResponse, None]:
    """A message for each point, as soon as it is there, and one for the summary.

    Raises:
        DomainError: the trajectory failed as a whole.
    """
    service, limits = calls.trajectories, calls.limits
    with service.place():
        async with within(arrival.deadline):
            spec = await _opened(messages)
            service.check(spec)
            first = await anext(messages, None)
        if first is None:
            raise invalid("frames", "the trajectory has no frames: send at least one.")
        if first.WhichOneof("message") == "video":
            async with within(arrival.deadline):
                data = await _video(first, messages, limits.trajectory.max_bytes)
            async with VideoSource(
                data, spec, limits.trajectory, limits.frame, service.executor
            ) as video:
                async for response in _answered(service, spec, video, arrival):
                    yield response
        else:
            arriving = _frames(first, messages, calls)
            source = FrameSource(spec, arriving, limits.trajectory)
            async with aclosing(arriving):
                async for response in _answered(service, spec, source, arrival):
                    yield response


async def _answered(
    service: TrajectoryService, spec: TrajectorySpec, source: Source, arrival: Arrival
) -> AsyncIterator[pb.ScoreTrajectoryResponse]:
    scoring = service.score(spec, source, arrived=arrival.at, deadline=arrival.deadline)
    async with aclosing(scoring):
        async for item in scoring:
            yield to_wire.trajectory_response(item)


async def _opened(messages: AsyncIterator[pb.ScoreTrajectoryRequest]) -> TrajectorySpec:
    first = await anext(messages, None)
    if first is None or first.WhichOneof("message") != "trajectory":
        raise invalid("trajectory", "the first message of a stream says what is asked.")
    try:
        return from_wire.trajectory_spec(first.trajectory)
    except DomainError as error:
        raise error.within("trajectory") from None


async def _video(
    first: pb.ScoreTrajectoryRequest,
    messages: AsyncIterator[pb.ScoreTrajectoryRequest],
    max_bytes: int,
) -> bytearray:
    data = bytearray()
    message: pb.ScoreTrajectoryRequest | None = first
    while message is not None:
        if message.WhichOneof("message") != "video":
            raise invalid("video", "a trajectory is the bytes of a video, or frames, not both.")
        data += message.video
        if len(data) > max_bytes:
            raise too_large("video", max_bytes)
        message = await anext(messages, None)
    return data


async def _frames(
    first: pb.ScoreTrajectoryRequest,
    messages: AsyncIterator[pb.ScoreTrajectoryRequest],
    calls: Calls,
) -> AsyncGenerator[Arrived, None]:
    arrived, limits = 0, calls.limits
    message: pb.ScoreTrajectoryRequest | None = first
    while message is not None:
        if message.WhichOneof("message") != "frames":
            raise invalid("frames", "after its first message a trajectory brings frames.")
        arrived += message.ByteSize() + wire_frames.shared_bytes(message.frames.frames)
        if arrived > limits.trajectory.max_bytes:
            raise too_large("frames", limits.trajectory.max_bytes)
        # A tensor says itself how many frames it holds: that is checked before they are made.
        if wire_frames.frame_count(message.frames.frames) > limits.batch:
            raise invalid(
                "frames", f"a message brings at most {limits.batch} frames: send several messages."
            )
        # Hashing takes milliseconds for many frames: other calls go on meanwhile.
        frames = await calls.beside(wire_frames.open_frames, message.frames.frames, limits)
        yield Arrived(frames, tuple(message.frames.times))
        message = await anext(messages, None)


def too_large(field: str, max_bytes: int) -> DomainError:
    """The error of a trajectory that brings too much."""
    return invalid(
        field,
        f"the trajectory is over the limit of {max_bytes} bytes: send fewer frames, send them as "
        "jpeg, or raise max_trajectory_mib on the server.",
    )
