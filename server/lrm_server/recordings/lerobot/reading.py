"""Reading a LeRobot data set.

In memory after opening: the episodes' metadata and every numeric column of every row. Frames are
read when they are indexed. Of videos, one file is open and the last frames that were asked for are
held decoded (``VideoReader``); of images in Parquet, the encoded images of one episode.

A row of LeRobot's holds a frame, and under ``next.`` what followed the action taken there. Where
the data set was written here, its columns ``lrm.`` say what was true at the frame itself. In others
a row's outcome is given to its own frame, which is one action early: what the last action led to is
in no frame of theirs. What they recorded is among the episode's columns as well, so that it is
written again as it was.
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
from lrm_server.recordings.lerobot.labels import flags, numbers, progress_of, steps_of
from lrm_server.recordings.lerobot.metadata import number_of, whole_of
from lrm_server.recordings.lerobot.names import (
    EPISODE_INDEX,
    LABELS,
    NEXT_REWARD,
    NEXT_SUCCESS,
    OWN,
    PROGRESS,
    REWARD,
    ROW_INDICES,
    STEP,
    SUCCESS,
    TASK_INDEX,
    TIMESTAMP,
)
from lrm_server.recordings.lerobot.outcomes import outcomes_of, recorded_outcomes
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
    found, gathered.problems = read_places(root, info)
    for data, places in groupby(found, lambda place: place.data):
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
        metadata = place.metadata
        count = place.length
        done = flags(rows, SUCCESS if SUCCESS in rows else NEXT_SUCCESS)
        success = place.success
        if success is None and done is not None:
            success = bool(done[-1])
        rewards = numbers(rows, REWARD if REWARD in rows else NEXT_REWARD)
        progress = progress_of(rows)
        steps = steps_of(rows, count)
        length = whole_of(metadata, f"{OWN}length")
        columns = {
            key: values
            for key, values in rows.items()
            if key not in LABELS or (key == PROGRESS and progress is None and STEP not in rows)
        }
        derived = outcomes_of(count, success, done, rewards)
        return RecordedEpisode(
            id=name,
            task=place.task or self._task(rows),
            frames=self._frames(name, place, first, self._times(rows, count)),
            steps=steps,
            length=int(steps[-1]) if length is None else length,
            success=success,
            done=done,
            progress=progress,
            rewards=rewards,
            fps=self._info.fps if length is None else number_of(metadata, f"{OWN}fps"),
            group=str(metadata.get(f"{OWN}group") or ""),
            kind=str(metadata.get(f"{OWN}kind") or ""),
            seed=whole_of(metadata, f"{OWN}seed"),
            columns=columns | recorded_outcomes(rows, derived),
        )

    def _task(self, rows: Rows) -> str:
        """The task that the first row names; empty where it names none."""
        indices = numbers(rows, TASK_INDEX)
        if indices is None or np.isnan(indices[0]):
            return ""
        return self._tasks.get(int(indices[0]), "")

    def _times(self, rows: Rows, count: int) -> NDArray[np.float64]:
        """Seconds of the rows; evenly spaced where they do not say."""
        times = numbers(rows, TIMESTAMP)
        if times is None or np.isnan(times).any():
            return np.arange(count) / self._info.fps
        return times

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
        # Rows may have indices that meta/info.json does not list.
        table = read_table(path, list(dict.fromkeys([*self._info.numeric, *ROW_INDICES])))
        if EPISODE_INDEX not in table.column_names:
            raise RecordingError(f"{path} lacks the column {EPISODE_INDEX}")
        return {
            name: as_array(path, name, table.column(name), self._info.shape_of(name))
            for name in table.column_names
        }
