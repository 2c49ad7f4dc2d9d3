"""The moments of a trajectory that comes as a video file."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from threading import Lock
from types import TracebackType
from typing import Final, TypeVar

import av

from lrm_client.thinning import Thinning
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.media.video import (
    DEMUXERS,
    FORMATS,
    DecodedFrame,
    MediaError,
    Survey,
    Video,
    VideoLimits,
)
from lrm_server.trajectories.types import Moment, TrajectoryLimits, TrajectorySpec

T = TypeVar("T")

FRAMES_AT_ONCE: Final = 16
"""Frames that are decoded before others get a turn at the thread."""
_CHANNELS: Final = 3


class VideoSource:
    """Moments made of a video file's frames, decoded in threads as they are asked for.

    Its packets are counted before a frame is decoded; frames that are not scored are
    decoded, as those after them need them, and not converted. To be entered first::

        async with VideoSource(data, spec, limits, frames, executor) as source:
            ...

    Args:
        data: the whole file.
        spec: which frames are scored; its ``fps`` counts instead of the file's own times.
        limits: of a trajectory.
        frames: limits of a frame.
        executor: where it is decoded; the event loop's own when None.
    """

    def __init__(
        self,
        data: bytes | bytearray,
        spec: TrajectorySpec,
        limits: TrajectoryLimits,
        frames: FrameLimits,
        executor: Executor | None = None,
    ) -> None:
        self._data = data
        self._spec = spec
        self._executor = executor
        self._video_limits = VideoLimits(
            demuxers=DEMUXERS,
            max_frames=limits.max_frames,
            max_pixels=frames.max_pixels,
            max_seconds=limits.max_decode_seconds,
            threads=1,
        )
        # What limits bytes is meant for frames as they travel; these are pixels already.
        most_bytes = frames.max_pixels * _CHANNELS
        self._frame_limits = FrameLimits(most_bytes, frames.max_pixels, frames.min_side)
        self._survey: Survey | None = None
        self._thinning: Thinning[DecodedFrame] = Thinning(spec.every)
        self._reading = Lock()
        self._video: Video | None = None
        self._coming: Iterator[DecodedFrame] = iter(())

    @property
    def count(self) -> int:
        """Frames that were decoded."""
        return self._thinning.count

    @property
    def fps(self) -> float | None:
        """The rate that was named, else the file's own."""
        return self._spec.fps or (self._survey.fps if self._survey else None)

    async def __aenter__(self) -> VideoSource:
        """Opens the video and counts its frames.

        Raises:
            DomainError: INVALID_ARGUMENT of ``video``, or of ``views``.
        """
        if len(self._spec.views) > 1:
            raise invalid("views", "a video file is of one camera: send frames for several.")
        try:
            await self._run(self._open)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends decoding, at the latest after the frame that is being decoded."""
        if self._video is not None:
            self._video.stop()
        # A server that stopped has no threads any more, and gives the decoder back by itself.
        with contextlib.suppress(RuntimeError):
            await self._run(self._close)

    async def __aiter__(self) -> AsyncIterator[Moment]:
        """The frames that are to be scored. What cannot be decoded is an error and the end.

        Raises:
            DomainError: INVALID_ARGUMENT of ``video``: a limit was reached.
        """
        over = False
        while not over:
            moments, over = await self._run(self._advance)
            for moment in moments:
                yield moment

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _open(self) -> None:
        with self._reading, _told_as_video():
            with Video(io.BytesIO(self._data), self._video_limits) as video:
                self._survey = video.survey()
            self._video = Video(io.BytesIO(self._data), self._video_limits)
            self._coming = self._video.frames()

    def _close(self) -> None:
        with self._reading:
            if self._video is not None:
                self._video.close()

    def _advance(self) -> tuple[list[Moment], bool]:
        """Decodes on, until a frame is to be scored or others get their turn."""
        with self._reading, _told_as_video():
            for _ in range(FRAMES_AT_ONCE):
                try:
                    frame = next(self._coming, None)
                except av.FFmpegError as error:
                    return [*self._last(), self._broken(error)], True
                if frame is None:
                    return self._last(), True
                taken = self._thinning.take(frame)
                if taken is not None:
                    return [self._moment(*taken)], False
        return [], False

    def _last(self) -> list[Moment]:
        rest = self._thinning.rest()
        return [self._moment(*rest)] if rest is not None else []

    def _broken(self, error: Exception) -> Moment:
        refusal = DomainError(
            ErrorCode.IMAGE_UNDECODABLE,
            f"the video cannot be decoded beyond frame {self.count}: {error}",
            field="video",
        )
        time = self.count / self.fps if self.fps else None
        return Moment(self.count, time, (refusal,))

    def _moment(self, index: int, frame: DecodedFrame) -> Moment:
        time = frame.seconds
        if self._spec.fps is not None:
            time = index / self._spec.fps
        pixels = frame.pixels()
        height, width = pixels.shape[:2]
        opened: Frame | DomainError
        try:
            opened = open_frame(
                pixels.tobytes(), Encoding.RAW, self._frame_limits, height=height, width=width
            )
        except DomainError as error:
            opened = error.within("video")
        return Moment(index, time, (opened,))


@contextlib.contextmanager
def _told_as_video() -> Iterator[None]:
    """Turns what is wrong with a video into INVALID_ARGUMENT of ``video``."""
    try:
        yield
    except MediaError as error:
        raise invalid("video", f"the video ({FORMATS}) is refused: {error}") from error
    except (av.FFmpegError, MemoryError) as error:
        raise invalid("video", f"the video cannot be decoded: {error}") from error
