"""Trajectories: the frames of one attempt, or a video of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import ValidationError
from pydantic_core import from_json as parse_json
from starlette.datastructures import FormData, UploadFile

from lrm_server.api import from_json
from lrm_server.api.arrival import Arrival
from lrm_server.api.http_errors import refusal_of
from lrm_server.api.http_forms import MOST_FIELDS, frame_of_file, media_type
from lrm_server.api.http_models import TrajectoryBody
from lrm_server.api.http_state import Arrives, State, while_wanted
from lrm_server.api.http_trajectories import (
    PointBody,
    TrajectoryScoresBody,
    point_body,
    scores_body,
)
from lrm_server.api.limits import MIB, Limits
from lrm_server.deadlines import within
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Frame
from lrm_server.trajectories.frame_source import Arrived, FrameSource
from lrm_server.trajectories.service import TrajectoryService
from lrm_server.trajectories.types import Point, Source, Summary, TrajectorySpec
from lrm_server.trajectories.video_source import VideoSource

router = APIRouter(prefix="/v1/trajectories", tags=["trajectories"])

REQUEST: Final = "request"
FRAMES: Final = "frames"
VIDEO: Final = "video"

_DOCUMENTED: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [REQUEST],
                    "properties": {
                        REQUEST: {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/TrajectoryBody"},
                            "description": "What is asked, as JSON.",
                        },
                        FRAMES: {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "JPEG or PNG files, oldest first; or else:",
                        },
                        VIDEO: {
                            "type": "string",
                            "format": "binary",
                            "description": "One MP4, MOV, Matroska, WebM or AVI file.",
                        },
                    },
                }
            }
        },
    }
}


@router.post("", openapi_extra=_DOCUMENTED)
async def score_trajectory(
    request: Request, state: State, arrives: Arrives
) -> TrajectoryScoresBody:
    """Scores frames, or a video, in the order of time: an answer for each frame that is scored."""
    service, limits = state.calls.trajectories, state.calls.limits
    arrival = arrives(limits.trajectory.seconds)
    kind = media_type(request)
    if kind != "multipart/form-data":
        raise invalid(
            "content-type",
            f"the body is {kind or 'of no type'}: send multipart/form-data with {REQUEST} and with "
            f"{FRAMES} or {VIDEO}.",
        )
    async with AsyncExitStack() as stack:
        stack.enter_context(service.place())
        async with within(arrival.deadline):
            form = await stack.enter_async_context(
                request.form(
                    max_files=limits.trajectory.max_frames + 1,
                    max_fields=MOST_FIELDS,
                    max_part_size=MIB,
                )
            )
        work = _score(form, service, limits, arrival)
        return await while_wanted(request, work)


async def _score(
    form: FormData, service: TrajectoryService, limits: Limits, arrival: Arrival
) -> TrajectoryScoresBody:
    body = await _body(form)
    spec = from_json.trajectory_spec(body)
    service.check(spec)
    files, video = _files(form)
    if video is not None:
        data = await video.read()
        async with VideoSource(
            data, spec, limits.trajectory, limits.frame, service.executor
        ) as filmed:
            return await _collected(service, spec, filmed, arrival)
    if body.times and len(body.times) * len(spec.views) != len(files):
        raise invalid(
            "times",
            f"{len(body.times)} times came for {len(files)} frames of {len(spec.views)} view(s): "
            "send one for each moment.",
        )
    arriving = _arriving(files, body.times, len(spec.views), limits)
    async with aclosing(arriving):
        source = FrameSource(spec, arriving, limits.trajectory)
        return await _collected(service, spec, source, arrival)


async def _collected(
    service: TrajectoryService, spec: TrajectorySpec, source: Source, arrival: Arrival
) -> TrajectoryScoresBody:
    points: list[PointBody] = []
    summary: Summary | None = None
    scoring = service.score(spec, source, arrived=arrival.at, deadline=arrival.deadline)
    async with aclosing(scoring):
        async for item in scoring:
            if isinstance(item, Point):
                points.append(point_body(item))
            else:
                summary = item
    assert summary is not None  # noqa: S101 - what is scored ends with it, or raises
    return scores_body(spec.task, points, summary)


async def _body(form: FormData) -> TrajectoryBody:
    sent = form.get(REQUEST)
    if sent is None:
        raise invalid(REQUEST, f"say what is asked as JSON, in the field {REQUEST}.")
    content = sent if isinstance(sent, str) else await sent.read(MIB + 1)
    if len(content) > MIB:
        raise invalid(REQUEST, f"the field {REQUEST} is over {MIB} bytes.")
    try:
        return TrajectoryBody.model_validate(parse_json(content))
    except ValidationError as error:
        raise refusal_of(error) from None
    except ValueError as error:
        raise invalid(REQUEST, f"{REQUEST} is not JSON ({error}).") from None


def _files(form: FormData) -> tuple[list[UploadFile], UploadFile | None]:
    """The frames of a form, or its video."""
    frames: list[UploadFile] = []
    videos: list[UploadFile] = []
    for name, value in form.multi_items():
        if name == REQUEST:
            continue
        if name not in (FRAMES, VIDEO):
            raise invalid(name, f"a trajectory is sent as {REQUEST} and {FRAMES} or {VIDEO}.")
        if isinstance(value, str):
            raise invalid(name, f"{name} is a file, not words. URLs and paths are never opened.")
        (frames if name == FRAMES else videos).append(value)
    if len(videos) > 1 or (videos and frames):
        raise invalid(VIDEO, "send frames, or one video.")
    if not videos and not frames:
        raise invalid(FRAMES, "the trajectory has no frames: send files of them, or a video.")
    return frames, videos[0] if videos else None


async def _arriving(
    files: list[UploadFile], times: list[float], views: int, limits: Limits
) -> AsyncGenerator[Arrived, None]:
    """The frames moment by moment, each opened when it is asked for."""
    for at in range(0, len(files), views):
        frames = [await _opened(file, limits) for file in files[at : at + views]]
        yield Arrived(frames, times[at // views : at // views + 1])


async def _opened(file: UploadFile, limits: Limits) -> Frame | DomainError:
    try:
        return await frame_of_file(file, "frame", limits.frame)
    except DomainError as error:
        return error
