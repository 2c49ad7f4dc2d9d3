"""Frames in video files: found by their times, and written at a constant rate."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordingError

HELD_FRAMES: Final = 64
"""Decoded frames that a reader holds: 59 MB of 640 x 480."""

_AHEAD_SECONDS: Final = 2.0
"""Up to here decoding on is taken to be cheaper than seeking."""

_KEY_FRAME_EVERY: Final = 2
"""As LeRobot writes videos: any frame is one or two frames of decoding away."""


class VideoReader:
    """Frames of video files by time; shared by the episodes of a data set, and by threads.

    One file is open at a time, where the last frame was found, so that going forward decodes each
    frame once. The last ``held`` frames that were asked for are kept decoded; nothing else is.
    """

    def __init__(self, held: int = HELD_FRAMES) -> None:
        self._lock = threading.Lock()
        self._frames: OrderedDict[tuple[Path, float], NDArray[np.uint8]] = OrderedDict()
        self._held = held
        self._open: _OpenVideo | None = None

    def frame_at(self, path: Path, seconds: float, tolerance: float) -> NDArray[np.uint8]:
        """The frame that is shown at a time.

        Args:
            path: of the video.
            seconds: from the video's beginning.
            tolerance: how far the frame's own time may be from it, in seconds.

        Returns:
            uint8 (H, W, 3) RGB, not to be written to.

        Raises:
            RecordingError: the file cannot be read up to there, or has no frame there.
        """
        key = (path, seconds)
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
                return self._frames[key]
            try:
                pixels = self._decode(path, seconds, tolerance)
            except (OSError, av.FFmpegError) as error:
                self._close()
                raise RecordingError(f"it cannot be decoded: {error}") from error
            pixels.setflags(write=False)
            self._frames[key] = pixels
            while len(self._frames) > self._held:
                self._frames.popitem(last=False)
            return pixels

    def _decode(self, path: Path, seconds: float, tolerance: float) -> NDArray[np.uint8]:
        if self._open is None or self._open.path != path:
            self._close()
            self._open = _OpenVideo(path)
        frame = self._open.frame_at(seconds, tolerance)
        # rgb24 is uint8; the types of PyAV name all that other formats give.
        return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class _OpenVideo:
    """A video and where decoding stands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as stack:
            # As an open file, and with no protocol allowed: an entry in it opens no address.
            file = stack.enter_context(path.open("rb"))
            options = {"protocol_whitelist": "none"}
            self._container: InputContainer = stack.enter_context(
                av.open(file, mode="r", options=options)
            )
            if not self._container.streams.video:
                raise RecordingError("it holds no video")
            self._stack = stack.pop_all()
        self._stream: VideoStream = self._container.streams.video[0]
        self._coming: Iterator[VideoFrame] = self._container.decode(self._stream)
        self._latest: VideoFrame | None = None

    def close(self) -> None:
        self._stack.close()

    def frame_at(self, seconds: float, tolerance: float) -> VideoFrame:
        latest = self._latest.time if self._latest is not None else None
        if latest is not None and abs(latest - seconds) <= tolerance:
            assert self._latest is not None  # noqa: S101
            return self._latest
        if latest is None or not latest < seconds <= latest + _AHEAD_SECONDS:
            self._seek(seconds)
        for frame in self._coming:
            self._latest = frame
            if frame.time is None:
                raise RecordingError("its frames have no times")
            if frame.time >= seconds - tolerance:
                if frame.time <= seconds + tolerance:
                    return frame
                break
        raise RecordingError(f"it has no frame at {seconds:.3f} s")

    def _seek(self, seconds: float) -> None:
        base = self._stream.time_base or Fraction(1, av.time_base)
        # Half a millisecond late finds the key frame whose time was rounded up.
        self._container.seek(int((seconds + 0.0005) / base), stream=self._stream)
        self._coming = self._container.decode(self._stream)
        self._latest = None


def check_even(height: int, width: int) -> None:
    """Checks that frames of a size can be a video, whose colours are halved in size.

    Raises:
        RecordingError: they cannot.
    """
    if height % 2 or width % 2:
        raise RecordingError(
            f"frames of {height} x {width} pixels are no video: use an even height and width, "
            "or write images"
        )


class VideoWriter:
    """An H.264 file of frames at a constant rate.

    Args:
        path: to be written.
        fps: frames a second.
        height: of the frames; even, as the format's colours are halved in size.
        width: of the frames; even.
        crf: H.264's constant rate factor: 18 cannot be told from the original by eye, less is
            more exact and larger.
    """

    PIXEL_FORMAT: Final = "yuv420p"
    CODEC: Final = "h264"

    def __init__(self, path: Path, fps: Fraction, height: int, width: int, crf: int) -> None:
        check_even(height, width)
        self._container = av.open(str(path), mode="w", format="mp4")
        options = {"crf": str(crf), "g": str(_KEY_FRAME_EVERY)}
        self._stream = self._container.add_stream("libx264", rate=fps, options=options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = self.PIXEL_FORMAT

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Adds a frame, uint8 (H, W, 3) RGB."""
        self._container.mux(self._stream.encode(VideoFrame.from_ndarray(pixels, format="rgb24")))

    def close(self) -> None:
        """Writes what is still held back, and the file's index."""
        self._container.mux(self._stream.encode())
        self._container.close()
