"""A trajectory on its way to the wire: which frames travel, and as which messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from lrm_client.errors import InvalidRequest
from lrm_client.frames import EncodedFrame, FrameEncoder, FrameLike, fill_batch
from lrm_client.requests import subtask_messages
from lrm_client.shared_memory import Lease
from lrm_client.subtasks import Subtask
from lrm_client.thinning import Thinning
from lrm_client.trajectories import Normalise, TrajectoryLike, Windows
from lrm_client.types import Readout, Use
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import to_wire

VIDEO_CHUNK: Final = 1024 * 1024
"""Bytes of a video in one message."""


class SentTrajectory:
    """A trajectory that is ready to be sent, as often as an attempt needs it.

    Args:
        frames: of one camera or of several, or a video file's bytes.
        task: in words.
        heads: which are asked.
        encoder: how frames are encoded.
        fps: frames a second.
        times: seconds of each frame.
        every: every so many frames travel and are scored; of a video, are scored.
        windows: when heads that look at a window are asked.
        normalise: what is made of the values.
        readout: how answers are read.
        use: which number becomes the value.
        swap: ask both orders.
        margin: within it a pair is undecided.
        return_text: replies carry what the model wrote.
        scene: what stands around the robot, in words, for heads that plan.
        subtasks: of the task, for heads that measure progress over them.

    Attributes:
        spec: what is asked.
        video: the file's bytes; None for frames.
        replayable: whether the frames can be sent again; those of an iterator cannot.

    Raises:
        InvalidRequest: what no server could take.
    """

    def __init__(
        self,
        frames: TrajectoryLike,
        task: str,
        heads: Sequence[str],
        encoder: FrameEncoder,
        *,
        fps: float | None = None,
        times: Sequence[float] | None = None,
        every: int = 1,
        windows: Windows | str = Windows.WHOLE,
        normalise: Normalise | str | None = None,
        readout: Readout | str | None = None,
        use: Use | str | None = None,
        swap: bool = False,
        margin: float | None = None,
        return_text: bool = False,
        scene: str = "",
        subtasks: Sequence[Subtask] = (),
    ) -> None:
        if not task.strip():
            raise InvalidRequest("a trajectory names its task in words", field="task")
        if isinstance(heads, str) or not heads:
            raise InvalidRequest(f"heads must be a list of names, not {heads!r}", field="heads")
        if every < 1:
            raise InvalidRequest(f"every must be at least 1, not {every}", field="every")
        self.video = bytes(frames) if isinstance(frames, bytes | bytearray | memoryview) else None
        self._frames: Any = None if self.video is not None else frames
        self._views = tuple(frames) if isinstance(frames, Mapping) else ()
        self._encoder = encoder
        self._every, self._fps = every, fps
        self._times = None if times is None else [float(time) for time in times]
        if self._times and fps is None and self._times[-1] > self._times[0]:
            # Of all frames, which the server cannot know when not all of them travel.
            fps = (len(self._times) - 1) / (self._times[-1] - self._times[0])
        if self.video is not None and times is not None:
            raise InvalidRequest("a video brings its own times: leave them out", field="times")
        self.replayable = not isinstance(frames, Iterator)
        self._refusal: Exception | None = None
        self._lease: Lease | None = None
        """Of shared memory; it is held for as long as the trajectory may be being read."""
        self._indices: list[int] = []
        self._thinning: Thinning[tuple[FrameLike, ...]] = Thinning(every)
        self.spec = pb.TrajectorySpec(
            task=task,
            heads=heads,
            fps=fps,
            every=every if self.video is not None else None,
            windows=to_wire(pb.Windows, windows),  # type: ignore[arg-type]
            normalise=to_wire(pb.Normalise, normalise),  # type: ignore[arg-type]
            views=self._views,
            readout=to_wire(pb.Readout, readout),  # type: ignore[arg-type]
            use=to_wire(pb.Use, use),  # type: ignore[arg-type]
            swap=swap,
            margin=margin,
            return_text=return_text,
            scene=scene,
            subtasks=subtask_messages(subtasks),
        )

    @property
    def count(self) -> int | None:
        """How many moments the trajectory has, once they were sent; None for a video."""
        return None if self.video is not None else self._thinning.count

    def index_of(self, sent: int) -> int:
        """The number in the trajectory of the frame that the server gives a number.

        Raises:
            IndexError: none such was sent.
        """
        return sent if self.video is not None else self._indices[sent]

    def messages(self) -> Iterator[pb.ScoreTrajectoryRequest]:
        """The messages of one attempt. Ends early at a frame that is none: ``raise_refusal``."""
        yield pb.ScoreTrajectoryRequest(trajectory=self.spec)
        if self.video is not None:
            for at in range(0, max(1, len(self.video)), VIDEO_CHUNK):
                yield pb.ScoreTrajectoryRequest(video=self.video[at : at + VIDEO_CHUNK])
            return
        # Of this attempt alone: the server may still be reading what an earlier one sent.
        shared = self._encoder.shared
        lease = self._lease = shared.lease() if shared is not None else None
        try:
            for frames, time in self.moments():
                message = pb.ScoreTrajectoryRequest()
                fill_batch(message.frames.frames, frames, lease)
                if time is not None:
                    message.frames.times.append(time)
                yield message
        except Exception as error:
            # A transport swallows what the iterator of its requests raises.
            self._refusal = error

    def raise_refusal(self) -> None:
        """Says what ended the messages early, if anything did.

        Raises:
            InvalidRequest: a frame that is none, or not as many times as frames.
            Exception: what the caller's own iterator raised.
        """
        if self._refusal is not None:
            raise self._refusal

    def moments(self) -> Iterator[tuple[list[EncodedFrame], float | None]]:
        """The frames that travel, moment by moment, with their times where they need them.

        Raises:
            InvalidRequest: a frame that is none, or not as many times as frames.
        """
        # Of this attempt alone: one that broke off may still be taking from its own.
        indices: list[int] = []
        thinning: Thinning[tuple[FrameLike, ...]] = Thinning(self._every)
        self._indices, self._thinning = indices, thinning
        for item in self._all():
            taken = thinning.take(item)
            if taken is not None:
                indices.append(taken[0])
                yield self._moment(*taken)
        rest = thinning.rest()
        if rest is not None:
            indices.append(rest[0])
            yield self._moment(*rest)
        if self._times is not None and len(self._times) != thinning.count:
            raise InvalidRequest(
                f"{len(self._times)} times were given for {thinning.count} frames",
                field="times",
            )

    def _moment(
        self, index: int, frames: tuple[FrameLike, ...]
    ) -> tuple[list[EncodedFrame], float | None]:
        return [self._encoder.encode(frame) for frame in frames], self._time(index)

    def _all(self) -> Iterable[tuple[FrameLike, ...]]:
        if not self._views:
            return ((frame,) for frame in self._frames)
        lengths = {name: len(self._frames[name]) for name in self._views}
        if len(set(lengths.values())) > 1:
            raise InvalidRequest(f"the cameras have different numbers of frames: {lengths}")
        return zip(*(self._frames[name] for name in self._views), strict=True)

    def _time(self, index: int) -> float | None:
        if self._times is not None:
            if index >= len(self._times):
                raise InvalidRequest(f"frame {index} has no time in times", field="times")
            return self._times[index]
        # Frames that are left out still take their time.
        thinned = self._every > 1 and self._fps is not None
        return index / self._fps if thinned and self._fps else None
