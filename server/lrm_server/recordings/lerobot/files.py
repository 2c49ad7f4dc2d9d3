"""The Parquet and video files that rows and frames go into, one after another."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lrm_server.recordings.lerobot.info import CHUNK_SIZE, DATA_PATH, VIDEO_PATH
from lrm_server.recordings.targets import inside
from lrm_server.recordings.video import VideoWriter

MEGABYTE = 1024 * 1024


class DataFiles:
    """Parquet files of rows: a row group an episode, and a new file once one has grown large.

    Args:
        root: the data set's folder.
        largest: bytes after which a new file is begun.
    """

    def __init__(self, root: Path, largest: int) -> None:
        self._root = root
        self._largest = largest
        self._number = -1
        self._writer: pq.ParquetWriter | None = None
        self._path = root

    def add(self, table: pa.Table) -> dict[str, int]:
        """Writes an episode's rows; returns where they are, as the episodes' metadata say it."""
        if self._writer is None or _size(self._path) >= self._largest:
            self.close()
            self._number += 1
            self._path = inside(self._root, DATA_PATH.format(**numbered(self._number)))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        return {f"data/{name}": value for name, value in numbered(self._number).items()}

    def close(self) -> None:
        """Writes what ends the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class VideoFiles:
    """Videos of frames: episodes follow each other, and a new file comes once one is large.

    Args:
        root: the data set's folder.
        camera: the feature that the frames are of.
        fps: frames a second.
        size: height and width of all frames.
        crf: see ``VideoWriter``.
        largest: bytes after which a new file is begun.
    """

    def __init__(
        self, root: Path, camera: str, fps: float, size: tuple[int, int], crf: int, largest: int
    ) -> None:
        self._root = root
        self._camera = camera
        self._fps = fps
        self._size = size
        self._crf = crf
        self._largest = largest
        self._number = -1
        self._frames = 0
        self._path = root
        self._writer: VideoWriter | None = None

    def begin(self, frames: int) -> dict[str, float]:
        """Begins an episode; returns where its frames are, as the episodes' metadata say it."""
        if self._writer is None or _size(self._path) >= self._largest:
            self.close()
            self._number += 1
            self._frames = 0
            name = VIDEO_PATH.format(video_key=self._camera, **numbered(self._number))
            self._path = inside(self._root, name)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            rate = Fraction(self._fps).limit_denominator(1001)
            self._writer = VideoWriter(self._path, rate, *self._size, self._crf)
        start = self._frames
        self._frames += frames
        place = {
            **numbered(self._number),
            "from_timestamp": start / self._fps,
            "to_timestamp": self._frames / self._fps,
        }
        return {f"videos/{self._camera}/{name}": value for name, value in place.items()}

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Adds a frame of the episode that was begun, uint8 (H, W, 3)."""
        assert self._writer is not None  # noqa: S101
        self._writer.add(pixels)

    def info(self) -> dict[str, Any]:
        """What ``meta/info.json`` says about the videos."""
        height, width = self._size
        return {
            "video.height": height,
            "video.width": width,
            "video.codec": VideoWriter.CODEC,
            "video.pix_fmt": VideoWriter.PIXEL_FORMAT,
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }

    def close(self) -> None:
        """Writes what ends the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def numbered(number: int) -> dict[str, int]:
    """The chunk and the file there of the Nth file, from 0."""
    chunk, file = divmod(number, CHUNK_SIZE)
    return {"chunk_index": chunk, "file_index": file}


def _size(path: Path) -> int:
    """Bytes of a file that is being written, of which some or all may still be held back."""
    return path.stat().st_size if path.exists() else 0
