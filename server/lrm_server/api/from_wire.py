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
from lrm_server.api.problems import internal_error
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Encoding, FrameLimits, open_frame
from lrm_server.heads.profile import Readout, Role, Use
from lrm_server.heads.query import Query, WindowFrame
from lrm_server.heads.subtasks import Subtask
from lrm_server.trajectories.types import Normalise, TrajectorySpec, Windows

_ROLES: Final = tuple((role.value, role) for role in Role)


def frame_count(batch: pb.FrameBatch) -> int:
    """How many frames a batch says that it has; nothing is read."""
    if batch.WhichOneof("layout") == "tensor":
        return batch.tensor.count
    return len(batch.list.frames)


def open_frames(batch: pb.FrameBatch, limits: FrameLimits) -> list[FrameOrRefusal]:
    """Checks and wraps the frames of a request, in order; one that is refused is its error.

    Hashes all of them, so a large batch belongs into a thread.
    """
    if batch.WhichOneof("layout") == "tensor":
        return _tensor_frames(batch.tensor, limits)
    return [frame(message, limits) for message in batch.list.frames]


def frame(message: pb.Frame, limits: FrameLimits) -> FrameOrRefusal:
    """One frame, or why its bytes were refused."""
    try:
        encoding = Encoding(_word(pb.Encoding, message, "encoding", "the frame's encoding"))
        # Each reading of the field copies all of it.
        return open_frame(
            message.data, encoding, limits, height=message.height, width=message.width
        )
    except DomainError as error:
        # Whose bytes are wrong is said by the role that refers to the frame.
        return DomainError(error.code, error.message)
    except Exception as error:
        # Whatever an image does to its decoder, the others of the batch are answered.
        return internal_error(error, opening="frame")


def _tensor_frames(tensor: pb.RawTensor, limits: FrameLimits) -> list[FrameOrRefusal]:
    # Each reading of the field copies all of it: read once, then slice without copying.
    data = memoryview(tensor.data)
    height, width, count = tensor.height, tensor.width, tensor.count
    size = height * width * 3
    if len(data) != count * size:
        refusal = invalid(
            "",
            f"a tensor of {count} frames of {height}x{width} has {count * size} bytes (uint8 RGB, "
            f"3 channels) and {len(data)} came: check shape, dtype and channels.",
        )
        return [refusal] * count

    def one(index: int) -> FrameOrRefusal:
        try:
            part = data[index * size : (index + 1) * size]
            return open_frame(part, Encoding.RAW, limits, height=height, width=width)
        except DomainError as error:
            return error
        except Exception as error:
            return internal_error(error, opening="frame of a tensor")

    return [one(index) for index in range(count)]


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
    episode: str, message: pb.StreamEpisodeRequest.Step, limits: FrameLimits, deadline: float
) -> EpisodeStep:
    """One step of the episode that a stream is about."""
    return EpisodeStep(
        episode=episode,
        step=message.step,
        frame=_named(frame(message.frame, limits)) if message.HasField("frame") else None,
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


def _word(kind: Any, message: Message, field: str, required: str = "") -> str | None:
    """The word of an enum's number; None for the unspecified one where that is allowed."""
    try:
        word = from_wire(kind, getattr(message, field))
    except ServerError:
        number = getattr(message, field)
        raise invalid(field, f"{field} {number} is of a newer protocol than this server.") from None
    if word is None and required:
        raise invalid(field, f"{required} is not named: say jpeg, png or raw.")
    return word
