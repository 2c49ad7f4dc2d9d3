"""Sequences of frames that are read when they are indexed, and files of frames."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final, overload

import numpy as np
from PIL import Image, UnidentifiedImageError

from lrm_server.recordings.episode import Frame, RecordingError

SUFFIXES: Final = {"JPEG": ".jpg", "PNG": ".png"}


class LazyFrames(Sequence[Frame]):
    """Frames of which ``_read`` fetches one; slices and negative indices are as a list's."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return ChosenFrames(self, range(self._count)[index])
        return self._read(range(self._count)[index])

    @abstractmethod
    def _read(self, index: int) -> Frame: ...


class ChosenFrames(LazyFrames):
    """Some of another sequence's frames, by their indices there."""

    def __init__(self, frames: Sequence[Frame], indices: Sequence[int]) -> None:
        super().__init__(len(indices))
        self._frames = frames
        self._indices = indices

    def _read(self, index: int) -> Frame:
        return self._frames[self._indices[index]]


class FileFrames(LazyFrames):
    """JPEG and PNG files, each opened anew when it is indexed; nothing is held."""

    def __init__(self, episode: str, files: Sequence[Path]) -> None:
        super().__init__(len(files))
        self._episode = episode
        self._files = files

    def _read(self, index: int) -> Frame:
        path = self._files[index]
        try:
            return whole_image(path.read_bytes())
        except OSError as error:
            raise unreadable(self._episode, index, path, error.strerror or str(error)) from error
        except RecordingError as error:
            raise unreadable(self._episode, index, path, str(error)) from error


def whole_image(data: bytes) -> Frame:
    """A JPEG or PNG file's bytes, or its pixels where they are not RGB as stored.

    The image is decoded to its end, so that a file that was cut short is found here.

    Raises:
        RecordingError: it is no JPEG or PNG image that can be decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=list(SUFFIXES)) as image:
            image.load()
            return data if image.mode == "RGB" else np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise RecordingError("it is no JPEG or PNG image") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RecordingError(f"it cannot be decoded: {error}") from error


def unreadable(episode: str, index: int, path: Path, cause: str) -> RecordingError:
    """The error of a frame that cannot be read."""
    return RecordingError(
        f"episode {episode!r}, frame {index}: {path}: {cause}; restore the file or leave the "
        "episode out"
    )


def image_file(frame: Frame) -> tuple[bytes, str]:
    """A frame as a file's bytes with the suffix that they want.

    JPEG and PNG bytes stay what they are, pixels become PNG: no pixel changes.
    """
    if isinstance(frame, bytes):
        return frame, SUFFIXES["PNG" if frame.startswith(b"\x89PNG") else "JPEG"]
    buffer = io.BytesIO()
    # Level 1: nearly as small as the default of 6 on rendered frames, in a third of the time.
    Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), SUFFIXES["PNG"]
