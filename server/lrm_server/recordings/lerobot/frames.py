"""Frames of a LeRobot data set: in its videos, or as images in its Parquet files."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lrm_server.recordings.episode import Frame, RecordingError
from lrm_server.recordings.frames import LazyFrames, unreadable, whole_image
from lrm_server.recordings.lerobot.rows import table_slice
from lrm_server.recordings.video import VideoReader


class VideoFrames(LazyFrames):
    """Frames of a video by their times; what is held is the reader's."""

    def __init__(
        self,
        episode: str,
        path: Path,
        seconds: Sequence[float],
        tolerance: float,
        reader: VideoReader,
    ) -> None:
        super().__init__(len(seconds))
        self._episode = episode
        self._path = path
        self._seconds = seconds
        self._tolerance = tolerance
        self._reader = reader

    def _read(self, index: int) -> Frame:
        try:
            return self._reader.frame_at(self._path, self._seconds[index], self._tolerance)
        except RecordingError as error:
            raise unreadable(self._episode, index, self._path, str(error)) from error


class ImageRows:
    """Images in Parquet files; holds the encoded images of the episode that was read last."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._lock = threading.Lock()
        self._key: tuple[Path, int] | None = None
        self._images: list[Mapping[str, Any] | None] = []

    def image(self, path: Path, first_row: int, count: int, index: int) -> Mapping[str, Any] | None:
        """The cell ``{bytes, path}`` of a row, or None; rows are ``first_row`` and on.

        Raises:
            RecordingError: the file cannot be read.
        """
        with self._lock:
            if self._key != (path, first_row):
                self._key = None
                table = table_slice(path, [self._camera], first_row, count)
                if self._camera not in table.column_names:
                    raise RecordingError(f"it lacks the column {self._camera}")
                self._images = table.column(self._camera).to_pylist()
                self._key = (path, first_row)
            return self._images[index]


class ImageFrames(LazyFrames):
    """An episode's images, in rows that follow each other in a Parquet file."""

    def __init__(
        self, episode: str, root: Path, path: Path, first_row: int, count: int, rows: ImageRows
    ) -> None:
        super().__init__(count)
        self._episode = episode
        self._root = root
        self._path = path
        self._first_row = first_row
        self._rows = rows

    def _read(self, index: int) -> Frame:
        path = self._path
        try:
            cell = self._rows.image(path, self._first_row, len(self), index)
            data = (cell or {}).get("bytes")
            if data is None:
                path = self._beside((cell or {}).get("path"))
                data = path.read_bytes()
            return whole_image(data)
        except OSError as error:
            raise unreadable(self._episode, index, path, error.strerror or str(error)) from error
        except RecordingError as error:
            raise unreadable(self._episode, index, path, str(error)) from error

    def _beside(self, name: str | None) -> Path:
        relative = PurePosixPath(name or "")
        if not name or relative.is_absolute() or ".." in relative.parts:
            raise RecordingError("the row holds no image, nor names a file of the data set")
        return self._root / relative
