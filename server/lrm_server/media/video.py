"""Frames of video files: decoded one after the other, within limits, from bytes alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import BinaryIO, Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

FORMATS: Final = "MP4, MOV, Matroska, WebM or AVI"
DEMUXERS: Final = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi")
"""What is opened of what strangers send."""
PADDED: Final = 2
"""A decoder counts the pixels of a frame padded to its blocks: at most so many times as many."""
RATES_AGREE: Final = 0.01
"""Up to this share of each other a video's named rate and that of its times are one."""


class MediaError(ValueError):
    """A source that holds no frames that can be read, or a sampling that makes no sense."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a video may be; None is no limit.

    Attributes:
        demuxers: which formats are opened; all that are known when None.
        max_frames: frames, whatever the file says of their number.
        max_pixels: height x width of a frame.
        max_seconds: of work on decoding.
        threads: that decode one video; 0 for as many as there are cores.
    """

    demuxers: tuple[str, ...] | None = None
    max_frames: int | None = None
    max_pixels: int | None = None
    max_seconds: float | None = None
    threads: int = 0

    def check_size(self, height: int, width: int) -> None:
        """Refuses frames that are too large.

        Raises:
            MediaError: they are.
        """
        if self.max_pixels is not None and height * width > self.max_pixels:
            raise MediaError(
                f"its frames have {height}x{width} pixels and the limit is {self.max_pixels} "
                "pixels: send a smaller video."
            )

    def check_count(self, count: int) -> None:
        """Refuses too many frames.

        Raises:
            MediaError: there are.
        """
        if self.max_frames is not None and count > self.max_frames:
            raise MediaError(
                f"it has over {self.max_frames} frames, which is the limit: send a shorter video, "
                "or one with fewer frames a second."
            )


@dataclass(frozen=True, slots=True)
class Survey:
    """What a video's packets tell before any is decoded.

    Attributes:
        frames: how many, by their packets and not by the file's header.
        fps: frames a second: the rate that the file names where the times agree with it,
            else that of the times; None for a single frame.
    """

    frames: int
    fps: float | None


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame that is decoded and not yet converted.

    Attributes:
        index: its number in the video, from 0.
        seconds: its time in the video; None when it has none.
    """

    index: int
    seconds: float | None
    _frame: VideoFrame

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""
        # rgb24 is uint8; the types of PyAV name all that other formats give.
        return self._frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


UNLIMITED: Final = VideoLimits()
"""For files of the machine's own user."""


class Video:
    """A video that is open.

    It is read through an open file and with no protocol allowed: neither a name, nor an
    entry of a playlist, nor a reference to another file is ever opened.

    Args:
        file: of the video; closed by who opened it.
        limits: what it may be.

    Raises:
        MediaError: no video, or one over a limit.
    """

    def __init__(self, file: BinaryIO, limits: VideoLimits = UNLIMITED) -> None:
        self._limits = limits
        self._stop = Event()
        options = {"protocol_whitelist": "none"}
        if limits.demuxers is not None:
            options["format_whitelist"] = ",".join(limits.demuxers)
        if limits.max_pixels is not None:
            # Looking for the streams decodes frames as well.
            options["max_pixels"] = str(PADDED * limits.max_pixels)
        with ExitStack() as stack:
            try:
                container = av.open(file, mode="r", options=options)
            except (OSError, ValueError, av.FFmpegError) as error:
                raise MediaError(f"it cannot be read as a video: {_cause(error)}") from error
            self._container: InputContainer = stack.enter_context(container)
            if not self._container.streams.video:
                raise MediaError("it holds no video")
            self._stream: VideoStream = self._container.streams.video[0]
            self._prepare()
            self._stack = stack.pop_all()

    def _prepare(self) -> None:
        context = self._stream.codec_context
        if context is None:
            raise MediaError("its format of video is not known here")
        self._limits.check_size(context.height, context.width)
        if self._limits.max_pixels is not None:
            context.options = {"max_pixels": str(PADDED * self._limits.max_pixels)}
        self._stream.thread_type = "AUTO"
        context.thread_count = self._limits.threads

    @property
    def named_frames(self) -> int | None:
        """How many frames the file says it has; None when it does not say."""
        return self._stream.frames or None

    def survey(self) -> Survey:
        """Reads all packets and decodes none; the video is at its end then.

        Raises:
            MediaError: too many frames, or a file that breaks off.
        """
        count = 0
        times: list[float] = []
        try:
            for packet in self._container.demux(self._stream):
                if not packet.size or packet.is_discard:
                    continue
                count += 1
                self._limits.check_count(count)
                if packet.pts is not None and packet.time_base is not None:
                    times.append(float(packet.pts * packet.time_base))
        except av.FFmpegError as error:
            raise MediaError(f"it cannot be read: {_cause(error)}") from error
        if not count:
            raise MediaError("it holds no frames")
        return Survey(count, self._rate(times))

    def frames(self) -> Iterator[DecodedFrame]:
        """The frames in the order of time, each decoded when it is asked for.

        Raises:
            MediaError: a limit was reached, or ``stop`` was called.
            av.FFmpegError: the rest cannot be decoded.
        """
        spent = 0.0
        coming = self._container.decode(self._stream)
        index = 0
        while True:
            begun = time.monotonic()
            frame = next(coming, None)
            spent += time.monotonic() - begun
            if frame is None:
                return
            if self._stop.is_set():
                raise MediaError("reading it was given up")
            self._limits.check_count(index + 1)
            self._limits.check_size(frame.height, frame.width)
            if self._limits.max_seconds is not None and spent > self._limits.max_seconds:
                raise MediaError(
                    f"decoding {index + 1} of its frames took over {self._limits.max_seconds:g} "
                    "seconds, which is the limit: send a shorter or a smaller video."
                )
            yield DecodedFrame(index, frame.time, frame)
            index += 1

    def stop(self) -> None:
        """From any thread: ends ``frames`` before the next one."""
        self._stop.set()

    def close(self) -> None:
        """Gives the decoder back; not while another thread reads."""
        self._stack.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _rate(self, times: list[float]) -> float | None:
        if len(times) < 2 or not max(times) > min(times):
            return None
        measured = (len(times) - 1) / (max(times) - min(times))
        named = float(self._stream.average_rate or 0)
        return named if abs(named - measured) <= RATES_AGREE * measured else measured


def _cause(error: Exception) -> str:
    """What the decoder says, without numbers of its own."""
    return getattr(error, "strerror", None) or str(error)
