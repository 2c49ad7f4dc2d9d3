"""From the messages of the wire to queries, episodes and steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from lrm_client.errors import ServerError
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import from_wire
from lrm_server.api.items import (
    FrameOrRefusal,
    clock_of,
    usable,
)
from lrm_server.api.limits import Limits
from lrm_server.api.wire_frames import frame
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep
from lrm_server.errors import DomainError, invalid
from lrm_server.heads.profile import Readout, Role, Use
from lrm_server.heads.query import Query, WindowFrame
from lrm_server.heads.subtasks import Subtask
from lrm_server.shared_memory import SharedReader
from lrm_server.trajectories.types import Normalise, TrajectorySpec, Windows

_ROLES: Final = tuple((role.value, role) for role in Role)


def query(message: pb.Query, frames: Sequence[FrameOrRefusal], deadline: float) -> Query:
    """A query on frames that are already opened.

    Raises:
        DomainError: the query is wrong; the field is relative to it.
    """
    roles = {
        role: usable(_at(frames, getattr(message, name), name), name)
        for name, role in _ROLES
        if message.HasField(name)  # type: ignore[arg-type]
    }
    return Query(
        head=message.head,
        task=message.task,
        frames=roles,
        window=_window(message.window, frames, "window"),
        other_window=_window(message.other_window, frames, "other_window"),
        fps=message.fps if message.HasField("fps") else None,
        readout=_readout(message),
        use=_use(message),
        swap=message.swap,
        margin=message.margin if message.HasField("margin") else None,
        return_text=message.return_text,
        scene=message.scene,
        subtasks=_subtasks(message),
        deadline=deadline,
    )


def _window(
    entries: Iterable[pb.WindowFrame], frames: Sequence[FrameOrRefusal], name: str
) -> tuple[WindowFrame, ...]:
    window = []
    for place, entry in enumerate(entries):
        field = f"{name}[{place}].frame"
        index = entry.index if entry.HasField("index") else None
        window.append(
            WindowFrame(usable(_at(frames, entry.frame, field), field), entry.view, index)
        )
    return tuple(window)


def episode_spec(message: pb.EpisodeSpec) -> EpisodeSpec:
    """What is fixed when an episode opens.

    Raises:
        DomainError: the specification is wrong; the field is relative to it.
    """
    return EpisodeSpec(
        id=message.id,
        task=message.task,
        heads=tuple(message.heads),
        clock=clock_of(
            interval=message.interval if message.HasField("interval") else None,
            scale=message.scale if message.HasField("scale") else None,
            hold=_word(pb.Hold, message, "hold"),
            phase=_word(pb.Phase, message, "phase"),
            offset=message.offset,
        ),
        use=_use(message),
        readout=_readout(message),
        swap=message.swap,
        margin=message.margin if message.HasField("margin") else None,
        fps=message.fps if message.HasField("fps") else None,
        scene=message.scene,
        subtasks=_subtasks(message),
    )


def episode_step(
    message: pb.EpisodeStep, frames: Sequence[FrameOrRefusal], deadline: float
) -> EpisodeStep:
    """One step of one episode.

    Raises:
        DomainError: the step refers to a frame that the request has not.
    """
    return EpisodeStep(
        episode=message.episode,
        step=message.step,
        frame=_named(_at(frames, message.frame, "frame")) if message.HasField("frame") else None,
        final=message.final,
        force=message.force,
        request_id=message.request_id,
        deadline=deadline,
    )


def stream_step(
    episode: str, message: pb.StreamEpisodeRequest.Step, limits: Limits, deadline: float
) -> EpisodeStep:
    """One step of the episode that a stream is about."""
    found: FrameOrRefusal | None = None
    if message.HasField("frame"):
        with SharedReader() as reader:
            found = _named(frame(message.frame, limits, reader))
    return EpisodeStep(
        episode=episode,
        step=message.step,
        frame=found,
        final=message.final,
        force=message.force,
        request_id=message.request_id,
        deadline=deadline,
    )


def trajectory_spec(message: pb.TrajectorySpec) -> TrajectorySpec:
    """What is asked of a trajectory.

    Raises:
        DomainError: a word of a newer protocol; the field is relative to the message.
    """
    windows = _word(pb.Windows, message, "windows")
    normalise = _word(pb.Normalise, message, "normalise")
    return TrajectorySpec(
        task=message.task,
        heads=tuple(message.heads),
        fps=message.fps if message.HasField("fps") else None,
        every=message.every if message.HasField("every") else 1,
        windows=Windows(windows) if windows else Windows.WHOLE,
        normalise=Normalise(normalise) if normalise else None,
        views=tuple(message.views) or ("",),
        readout=_readout(message),
        use=_use(message),
        swap=message.swap,
        margin=message.margin if message.HasField("margin") else None,
        return_text=message.return_text,
        scene=message.scene,
        subtasks=_subtasks(message),
    )


def _named(found: FrameOrRefusal) -> FrameOrRefusal:
    return found.within("frame") if isinstance(found, DomainError) else found


def _at(frames: Sequence[FrameOrRefusal], index: int, field: str) -> FrameOrRefusal:
    if index >= len(frames):
        raise invalid(
            field, f"{field} refers to frame {index} and the request has {len(frames)} frames."
        )
    return frames[index]


def _subtasks(message: pb.Query | pb.EpisodeSpec | pb.TrajectorySpec) -> tuple[Subtask, ...]:
    return tuple(Subtask(each.subtask, each.done_when) for each in message.subtasks)


def _readout(message: pb.Query | pb.EpisodeSpec | pb.TrajectorySpec) -> Readout | None:
    word = _word(pb.Readout, message, "readout")
    return Readout(word) if word else None


def _use(message: pb.Query | pb.EpisodeSpec | pb.TrajectorySpec) -> Use | None:
    word = _word(pb.Use, message, "use")
    return Use(word) if word else None


def _word(kind: Any, message: Message, field: str) -> str | None:
    """The word of an enum's number; None for the unspecified one."""
    try:
        return from_wire(kind, getattr(message, field))
    except ServerError:
        number = getattr(message, field)
        raise invalid(field, f"{field} {number} is of a newer protocol than this server.") from None
