"""Frames from a video file or from a folder of images; local files only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from lrm_client import FrameLike
from lrm_server.media.video import MediaError as MediaError
from lrm_server.media.video import Video

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames are taken: every Nth, or so many a second; all when neither is given.

    Raises:
        MediaError: both are given, or one is not positive.
    """

    every: int | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.fps is not None:
            raise MediaError("give --every or --fps, not both")
        if self.every is not None and self.every < 1:
            raise MediaError(f"--every must be at least 1, not {self.every}")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise MediaError(f"--fps must be positive, not {self.fps}")


@dataclass(frozen=True, slots=True, eq=False)
class MediaFrame:
    """One frame that was taken.

    Attributes:
        index: its place among all frames of the source, from 0.
        seconds: its time in a video; None in a folder.
        name: its file in a folder; empty in a video.
        image: uint8 (H, W, 3) RGB, or a file's bytes; None when it cannot be read.
        error: why it cannot be read, or empty.
    """

    index: int
    seconds: float | None = None
    name: str = ""
    image: FrameLike | None = None
    error: str = ""


class Media:
    """A video file, or a folder whose PNG and JPEG files are frames in the order of their names.

    Numbers in names count as numbers: ``frame10`` comes after ``frame9``.

    Raises:
        MediaError: nothing there, or nothing that is a video or holds images.
    """

    def __init__(self, source: Path, sampling: Sampling) -> None:
        self._source = source
        self._sampling = sampling
        self._files: list[Path] | None = None
        if source.is_dir():
            if sampling.fps is not None:
                raise MediaError("--fps is for videos: files in a folder have no times")
            self._files = _images_in(source)
            self._count: int | None = len(self._files)
        elif source.is_file():
            with _opened(source) as video:
                self._count = video.named_frames
        else:
            raise MediaError(f"{source} is neither a file nor a folder on this machine")

    @property
    def expected_frames(self) -> int | None:
        """About how many frames ``frames`` gives; None when the video does not say."""
        if self._count is None or self._sampling.fps is not None:
            return None
        return -(-self._count // (self._sampling.every or 1))

    def frames(self) -> Iterator[MediaFrame]:
        """The frames that the sampling takes; one that cannot be read carries its error."""
        return self._video_frames() if self._files is None else self._folder_frames()

    def _folder_frames(self) -> Iterator[MediaFrame]:
        files = self._files or []
        for index in range(0, len(files), self._sampling.every or 1):
            path = files[index]
            try:
                image = _read_image(path)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                yield MediaFrame(index, name=path.name, error=f"{path.name}: {error}")
            else:
                yield MediaFrame(index, name=path.name, image=image)

    def _video_frames(self) -> Iterator[MediaFrame]:
        due = 0.0
        with _opened(self._source) as video:
            index = -1
            try:
                for frame in video.frames():
                    index, seconds = frame.index, frame.seconds
                    if not self._takes(index, seconds, due):
                        continue
                    if self._sampling.fps is not None and seconds is not None:
                        # The first frame at or after each multiple of 1 / fps.
                        due = (np.floor(seconds * self._sampling.fps + 1e-6) + 1) / (
                            self._sampling.fps
                        )
                    yield MediaFrame(index, seconds, image=frame.pixels())
            except av.FFmpegError as error:
                # What follows in the file is lost; what came before is not.
                yield MediaFrame(index + 1, error=f"the video cannot be decoded further: {error}")

    def _takes(self, index: int, seconds: float | None, due: float) -> bool:
        if self._sampling.fps is None:
            return index % (self._sampling.every or 1) == 0
        if seconds is None:
            raise MediaError(f"{self._source} has no times: use --every instead of --fps")
        return seconds + 1e-6 >= due


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts text with numbers as people count: ``frame9`` before ``frame10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _images_in(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise MediaError(f"{folder} holds no PNG or JPEG files")
    return sorted(files, key=lambda path: natural_key(path.name))


def _read_image(path: Path) -> FrameLike:
    """The file's own bytes where the server takes them, else its pixels as RGB."""
    data = path.read_bytes()
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            image.load()
            if image.mode == "RGB":
                return data
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError("is no PNG or JPEG image") from error


@contextmanager
def _opened(path: Path) -> Iterator[Video]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            video = stack.enter_context(Video(file))
        except (OSError, MediaError) as error:
            raise MediaError(f"{path} is no video that can be read: {error}") from error
        yield video
