"""From the JSON of HTTP requests to queries, episodes and steps."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lrm_server.api.http_models import (
    EpisodeBody,
    FrameBody,
    HeadQueryBody,
    PlannedBody,
    QueryBody,
    StepBody,
    TrajectoryBody,
    WindowFrameBody,
)
from lrm_server.api.items import FrameOrRefusal, clock_of, usable
from lrm_server.api.problems import internal_error
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.profile import Readout, Role, Use
from lrm_server.heads.query import Query, WindowFrame
from lrm_server.heads.subtasks import Subtask
from lrm_server.trajectories.types import Normalise, TrajectorySpec, Windows


def frame(body: FrameBody, limits: FrameLimits) -> FrameOrRefusal:
    """One frame, or why its bytes were refused. Its size is checked before it is decoded."""
    try:
        return _opened(body, limits)
    except DomainError as error:
        return error
    except Exception as error:
        # Whatever an image does to its decoder, the others of the batch are answered.
        return internal_error(error, opening="frame")


def query(
    body: QueryBody,
    limits: FrameLimits,
    deadline: float,
    *,
    head: str,
    files: Mapping[Role, Frame] | None = None,
    filmed: Sequence[WindowFrame] = (),
) -> Query:
    """A query, its frames opened.

    Hashes its frames, so large ones belong into a thread.

    Args:
        body: what came as JSON, or as the fields of a form.
        limits: what a frame may be.
        deadline: time.monotonic() seconds.
        head: which head is asked.
        files: frames that came as the files of a form.
        filmed: frames of a window that came so.

    Raises:
        DomainError: the query is wrong; the field is relative to it.
    """
    frames = dict(files or {})
    for role in Role:
        found: FrameBody | None = getattr(body, role.value)
        if found is not None:
            frames[role] = usable(frame(found, limits), role.value)
    return Query(
        head=head,
        task=body.task,
        frames=frames,
        window=(*filmed, *_window(body.window, limits, "window")),
        other_window=_window(body.other_window, limits, "other_window"),
        fps=body.fps,
        readout=Readout(body.readout) if body.readout else None,
        use=Use(body.use) if body.use else None,
        swap=body.swap,
        margin=body.margin,
        return_text=body.return_text,
        scene=body.scene,
        subtasks=_subtasks(body),
        deadline=deadline,
    )


def _window(
    bodies: Iterable[WindowFrameBody], limits: FrameLimits, name: str
) -> tuple[WindowFrame, ...]:
    return tuple(
        WindowFrame(usable(frame(body, limits), f"{name}[{place}]"), body.view, body.index)
        for place, body in enumerate(bodies)
    )


def queries(
    bodies: Sequence[HeadQueryBody | DomainError], limits: FrameLimits, deadline: float
) -> list[Query | DomainError]:
    """The queries of a batch, each on its own; one that is wrong becomes its error."""

    def one(body: HeadQueryBody | DomainError) -> Query | DomainError:
        if isinstance(body, DomainError):
            return body
        try:
            return query(body, limits, deadline, head=body.head)
        except DomainError as error:
            return error
        except Exception as error:
            return internal_error(error, head=body.head)

    return [one(body) for body in bodies]


def episode_spec(body: EpisodeBody) -> EpisodeSpec:
    """What is fixed when an episode opens.

    Raises:
        DomainError: the specification is wrong, with its field.
    """
    return EpisodeSpec(
        id=body.id,
        task=body.task,
        heads=tuple(body.heads),
        clock=clock_of(
            interval=body.interval,
            scale=body.scale,
            hold=body.hold,
            phase=body.phase,
            offset=body.offset,
        ),
        use=Use(body.use) if body.use else None,
        readout=Readout(body.readout) if body.readout else None,
        swap=body.swap,
        margin=body.margin,
        fps=body.fps,
        scene=body.scene,
        subtasks=_subtasks(body),
    )


def episode_step(episode: str, body: StepBody, limits: FrameLimits, deadline: float) -> EpisodeStep:
    """One step. A frame that is refused fails the step only where it is needed."""
    found = frame(body.frame, limits) if body.frame is not None else None
    return EpisodeStep(
        episode=episode,
        step=body.step,
        frame=found.within("frame") if isinstance(found, DomainError) else found,
        final=body.final,
        force=body.force,
        request_id=body.request_id,
        deadline=deadline,
    )


def trajectory_spec(body: TrajectoryBody) -> TrajectorySpec:
    """What is asked of a trajectory."""
    return TrajectorySpec(
        task=body.task,
        heads=tuple(body.heads),
        fps=body.fps,
        every=body.every,
        windows=Windows(body.windows),
        normalise=Normalise(body.normalise) if body.normalise else None,
        views=tuple(body.views) or ("",),
        readout=Readout(body.readout) if body.readout else None,
        use=Use(body.use) if body.use else None,
        swap=body.swap,
        margin=body.margin,
        return_text=body.return_text,
        scene=body.scene,
        subtasks=_subtasks(body),
    )


def _subtasks(body: PlannedBody) -> tuple[Subtask, ...]:
    return tuple(Subtask(each.subtask, each.done_when) for each in body.subtasks)


def _opened(body: FrameBody, limits: FrameLimits) -> Frame:
    encoding = Encoding(body.encoding)
    height, width = _size(body) if encoding is Encoding.RAW else (0, 0)
    # Four characters are three bytes: known before anything is decoded.
    coming = 3 * (len(body.data) // 4) - body.data[-2:].count("=")
    if coming > limits.max_bytes:
        raise DomainError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"the frame has {coming} bytes and the limit is {limits.max_bytes}: "
            "send a smaller or a compressed image.",
        )
    try:
        data = b64decode(body.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(
            "data",
            f"data is not base64 ({error}): encode the image's bytes, with padding and without "
            "white space. URLs, paths and data: URIs are never opened.",
        ) from None
    return open_frame(data, encoding, limits, height=height, width=width)


_CHANNELS: Final = 3


def _size(body: FrameBody) -> tuple[int, int]:
    """Height and width of a raw frame."""
    shape = body.shape or []
    if len(shape) != _CHANNELS or shape[2] != _CHANNELS or min(shape) < 1:
        raise invalid(
            "",
            f"the shape of a raw frame is [height, width, 3] (uint8 RGB, 3 channels) and "
            f"{shape} came: check shape, dtype and channels.",
        )
    return shape[0], shape[1]
