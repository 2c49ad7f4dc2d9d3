"""Reading a LeRobot data set.

In memory after opening: the episodes' metadata and every numeric column of every row. Frames are
read when they are indexed. Of videos, one file is open and the last frames that were asked for are
held decoded (``VideoReader``); of images in Parquet, the encoded images of one episode.

A row of LeRobot's holds a frame, and under ``next.`` what followed the action taken there. Where
the data set was written here, its columns ``lrm.`` say what was true at the frame itself. In others
a row's outcome is given to its own frame, which is one action early: what the last action led to is
in no frame of theirs.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.contents import Contents, Gathered
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.lerobot.frames import ImageFrames, ImageRows, VideoFrames
from lrm_server.recordings.lerobot.index import Place, read_places, read_table, read_tasks
from lrm_server.recordings.lerobot.info import Info, read_info
from lrm_server.recordings.lerobot.names import (
    LABELS,
    NEXT_REWARD,
    NEXT_SUCCESS,
    PROGRESS,
    REWARD,
    ROW_INDICES,
    STEP,
    SUCCESS,
    UNKNOWN,
)
from lrm_server.recordings.lerobot.rows import Rows, as_array, rows_of
from lrm_server.recordings.video import VideoReader


def read_lerobot(root: Path, camera: str | None) -> Contents:
    """Reads a data set; see ``open_data_set``.

    Raises:
        RecordingError: its metadata cannot be read, or the choice of camera is missing or wrong.
    """
    info = read_info(root)
    chosen = info.choose_camera(camera)
    reader = _Reader(root, info, chosen)
    gathered = Gathered()
    for data, places in groupby(read_places(root, info), lambda place: place.data):
        file = reader.file(data)
        for place in places:
            gathered.add(place.name, partial(reader.episode, place, file))
    return gathered.contents(f"lerobot {info.codebase_version}", info.cameras, chosen)


class _Reader:
    def __init__(self, root: Path, info: Info, camera: str) -> None:
        self._root = root
        self._info = info
        self._camera = camera
        self._tasks = read_tasks(root, info)
        self._video = VideoReader()
        self._images = ImageRows(camera)

    def file(self, path: Path) -> Rows | RecordingError:
        """The numeric columns of a file, or why it cannot be read."""
        try:
            return self._columns(path)
        except RecordingError as error:
            return error

    def episode(self, place: Place, file: Rows | RecordingError) -> RecordedEpisode:
        """An episode of a file.

        Raises:
            RecordingError: the file cannot be read, or its rows do not fit the metadata.
        """
        if isinstance(file, RecordingError):
            raise file
        name = place.name
        first, rows = rows_of(file, place)
        extras = place.extras
        count = place.length
        done = _flags(rows, SUCCESS if SUCCESS in rows else NEXT_SUCCESS)
        success = extras.get("success", bool(done[-1]) if done is not None else None)
        rewards = _numbers(rows, REWARD if REWARD in rows else NEXT_REWARD)
        steps = rows.get(STEP, np.arange(count)).astype(np.int64)
        own = "length" in extras
        return RecordedEpisode(
            id=name,
            task=place.task or self._tasks.get(int(rows["task_index"][0]), ""),
            frames=self._frames(name, place, first, rows["timestamp"].astype(np.float64)),
            steps=steps,
            length=int(extras["length"]) if own else int(steps[-1]),
            success=success,
            done=done,
            progress=_numbers(rows, PROGRESS),
            rewards=rewards,
            fps=extras.get("fps") if own else self._info.fps,
            group=extras.get("group") or "",
            kind=extras.get("kind") or "",
            seed=extras.get("seed"),
            columns={key: values for key, values in rows.items() if key not in LABELS},
        )

    def _frames(
        self, name: str, place: Place, first: int, times: NDArray[np.float64]
    ) -> VideoFrames | ImageFrames:
        clip = place.clips.get(self._camera)
        if clip is None:
            return ImageFrames(name, self._root, place.data, first, place.length, self._images)
        if not clip.path.is_file():
            raise RecordingError(f"{clip.path} is missing")
        seconds = (clip.start + times).tolist()
        return VideoFrames(name, clip.path, seconds, 0.5 / self._info.fps, self._video)

    def _columns(self, path: Path) -> Rows:
        """The numeric columns of a file."""
        names = [
            name
            for name, feature in self._info.features.items()
            if not feature.is_camera and feature.dtype != "string"
        ]
        table = read_table(path, [*names])
        missing = [name for name in ROW_INDICES if name not in table.column_names]
        if missing:
            raise RecordingError(f"{path} lacks the column {missing[0]}")
        return {
            name: as_array(path, name, table.column(name), self._info.features[name].shape)
            for name in table.column_names
        }


def _flags(rows: Rows, name: str) -> NDArray[np.bool_] | None:
    values = rows.get(name)
    if values is None or np.any(values == UNKNOWN):
        return None
    return values.astype(np.bool_)


def _numbers(rows: Rows, name: str) -> NDArray[np.float64] | None:
    values = rows.get(name)
    if values is None or values.dtype.kind not in "bif":
        return None
    numbers = values.astype(np.float64)
    return None if np.all(np.isnan(numbers)) else numbers
