"""Writing a data set in LeRobot's layout, v3.0.

``meta/info.json`` is written last: a folder that has it is whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow.parquet as pq

from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.frames import image_file
from lrm_server.recordings.lerobot.columns import Columns, as_table, features_of
from lrm_server.recordings.lerobot.files import MEGABYTE, DataFiles, VideoFiles
from lrm_server.recordings.lerobot.info import (
    CAMERA_PREFIX,
    CHUNK_SIZE,
    DATA_PATH,
    EPISODES_PATH,
    INFO_FILE,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
    VIDEO_PATH,
    name_of_files,
)
from lrm_server.recordings.lerobot.meta import episodes_table, tasks_table, write_json
from lrm_server.recordings.lerobot.names import OWN
from lrm_server.recordings.lerobot.stats import CameraStats, numeric_stats
from lrm_server.recordings.pixels import as_pixels
from lrm_server.recordings.scores import Scores, with_scores
from lrm_server.recordings.targets import new_folder

Storage = Literal["images", "video"]

DATA_FILE_MB: Final = 100
VIDEO_FILE_MB: Final = 200
"""A file that has grown to this is followed by another."""

FALLBACK_FPS: Final = 10.0
"""Rows a second where the episodes do not say."""

CRF: Final = 18


def write_lerobot(
    episodes: Sequence[RecordedEpisode],
    to: Path,
    *,
    scores: Scores | None = None,
    storage: Storage = "images",
    camera: str = "camera",
    fps: float | None = None,
    crf: int = CRF,
) -> None:
    """Writes episodes; frames are read one at a time.

    LeRobot's rows are evenly spaced: row i of an episode is at i / ``fps`` seconds, whatever the
    frame's step, which is kept in the column ``lrm.step``.

    Args:
        episodes: at least one, with ids that are unique, all frames of one size.
        to: a folder that is empty or not there yet.
        scores: what a model said about them, written as columns.
        storage: ``images``: JPEG and PNG frames are kept byte for byte, pixels become PNG;
            ``video``: H.264, far smaller, pixels are approximate.
        camera: the feature that the frames become, ``observation.images.`` put before it.
        fps: rows a second; else as the first episode that says its own ``fps`` has frames, else 10.
        crf: of the video: 0 to 51, less is more exact and larger.

    Raises:
        RecordingError: ``to`` holds something, a frame cannot be read, or the episodes do not fit
            into one data set.
        OSError: it cannot be written.
    """
    if not episodes:
        raise RecordingError("there is no episode to write")
    scored = [with_scores(episode, scores) for episode in episodes]
    [(name, count)] = Counter(episode.id for episode in scored).most_common(1)
    if count > 1:
        raise RecordingError(f"{count} episodes have the id {name!r}: make them differ")
    rate = fps if fps is not None else _rows_a_second(scored)
    if not 0 < rate < float("inf"):
        raise RecordingError(f"fps must be positive, not {rate}")
    key = camera if camera.startswith("observation.") else f"{CAMERA_PREFIX}{camera}"
    try:
        name_of_files(key)
    except ValueError as error:
        raise RecordingError(str(error)) from error
    new_folder(to)
    _Writing(to, scored, key, storage, rate, crf).run()


class _Writing:
    def __init__(
        self,
        root: Path,
        episodes: Sequence[RecordedEpisode],
        camera: str,
        storage: Storage,
        fps: float,
        crf: int,
    ) -> None:
        self._root = root
        self._episodes = episodes
        self._camera = camera
        self._fps = fps
        self._columns = Columns(episodes)
        self._tasks = {
            task: index for index, task in enumerate(dict.fromkeys(e.task for e in episodes))
        }
        first = episodes[0]
        height, width, _ = as_pixels(first.frames[0]).shape
        self._size = (height, width)
        self._stats = CameraStats(sum(len(episode.frames) for episode in episodes))
        self._data = DataFiles(root, DATA_FILE_MB * MEGABYTE)
        self._video: VideoFiles | None = None
        if storage == "video":
            largest = VIDEO_FILE_MB * MEGABYTE
            self._video = VideoFiles(root, camera, fps, self._size, crf, largest)

    def run(self) -> None:
        metadata = []
        parts: list[dict[str, Any]] = []
        row = 0
        try:
            for index, episode in enumerate(self._episodes):
                rows = self._columns.of(episode, index, row, self._tasks[episode.task], self._fps)
                metadata.append(self._write(episode, index, row, rows))
                parts.append(rows)
                row += len(episode.frames)
        finally:
            self._data.close()
            if self._video is not None:
                self._video.close()
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self._write_metadata(metadata)
        write_json(
            self._root / STATS_PATH, numeric_stats(columns) | {self._camera: self._stats.result()}
        )
        write_json(self._root / INFO_FILE, self._info(row, features_of(columns)))

    def _write(
        self, episode: RecordedEpisode, index: int, row: int, rows: dict[str, Any]
    ) -> dict[str, Any]:
        count = len(episode.frames)
        images: list[dict[str, Any]] = []
        place = self._video.begin(count) if self._video is not None else {}
        for number in range(count):
            frame = episode.frames[number]
            pixels = as_pixels(frame)
            if pixels.shape != (*self._size, 3):
                raise RecordingError(
                    f"episode {episode.id!r}, frame {number} has the shape {pixels.shape}, but the "
                    f"first frame {(*self._size, 3)}: a LeRobot data set has frames of one size"
                )
            if self._stats.due():
                self._stats.add(pixels)
            if self._video is not None:
                self._video.add(pixels)
            else:
                data, suffix = image_file(frame)
                images.append({"bytes": data, "path": f"frame-{number:06d}{suffix}"})
        table = as_table(rows, None if self._video is not None else (self._camera, images))
        return {
            "episode_index": index,
            "tasks": [episode.task],
            "length": count,
            **self._data.add(table),
            "dataset_from_index": row,
            "dataset_to_index": row + count,
            **place,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            f"{OWN}id": episode.id,
            f"{OWN}group": episode.group,
            f"{OWN}kind": episode.kind,
            f"{OWN}seed": episode.seed,
            f"{OWN}success": episode.success,
            f"{OWN}length": episode.length,
            f"{OWN}fps": episode.fps,
        }

    def _write_metadata(self, metadata: list[dict[str, Any]]) -> None:
        path = self._root / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(episodes_table(metadata), path)
        pq.write_table(tasks_table(list(self._tasks)), self._root / TASKS_PATH)

    def _info(self, rows: int, features: dict[str, dict[str, Any]]) -> dict[str, Any]:
        camera: dict[str, Any] = {
            "dtype": "image" if self._video is None else "video",
            "shape": [*self._size, 3],
            "names": ["height", "width", "channels"],
        }
        if self._video is not None:
            camera["info"] = self._video.info()
        count = len(self._episodes)
        return {
            "codebase_version": VERSION,
            "robot_type": None,
            "total_episodes": count,
            "total_frames": rows,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": int(self._fps) if self._fps == int(self._fps) else self._fps,
            "splits": {"train": f"0:{count}"},
            "data_path": DATA_PATH,
            "video_path": None if self._video is None else VIDEO_PATH,
            "features": {self._camera: camera, **features},
        }


def _rows_a_second(episodes: Sequence[RecordedEpisode]) -> float:
    for episode in episodes:
        if episode.fps is not None:
            strides = np.diff(episode.steps)
            return episode.fps / float(np.median(strides)) if len(strides) else episode.fps
    return FALLBACK_FPS
