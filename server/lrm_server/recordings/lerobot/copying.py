"""Some episodes of a LeRobot data set as a data set of their own.

Rows keep all their columns and images, and videos of all cameras are copied as they are, once each,
with what they hold of episodes that were left out. Whatever the version was, the copy is v3.0; what
that needs and the data set lacks is computed: indices of rows, and statistics of cameras.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.files import MEGABYTE, DataFiles, numbered
from lrm_server.recordings.lerobot.index import Place, read_places, read_tasks
from lrm_server.recordings.lerobot.info import (
    CHUNK_SIZE,
    DATA_PATH,
    EPISODES_PATH,
    INFO_FILE,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
    VIDEO_PATH,
    Info,
    read_info,
)
from lrm_server.recordings.lerobot.meta import episodes_table, tasks_table, write_json
from lrm_server.recordings.lerobot.names import (
    EPISODE_INDEX,
    FRAME_INDEX,
    INDEX,
    OWN,
    ROW_INDICES,
    TASK_INDEX,
    TIMESTAMP,
)
from lrm_server.recordings.lerobot.reading import read_lerobot
from lrm_server.recordings.lerobot.rows import as_array, episode_rows
from lrm_server.recordings.lerobot.stats import CameraStats, numeric_stats
from lrm_server.recordings.lerobot.writing import DATA_FILE_MB, VIDEO_FILE_MB
from lrm_server.recordings.pixels import as_pixels
from lrm_server.recordings.targets import inside, new_folder

Additions = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Episode's id -> new column -> its rows, (F,)."""


def copy_lerobot(root: Path, ids: Sequence[str], to: Path, additions: Additions) -> None:
    """Copies episodes with new columns, NaN where an episode has no values for one.

    Args:
        root: the data set.
        ids: of the episodes, which keep them.
        to: a folder that is empty or not there yet.
        additions: columns to add; one that is there already is replaced.

    Raises:
        RecordingError: a file cannot be read, or ``to`` holds something.
        OSError: a file cannot be copied.
    """
    info = read_info(root)
    wanted = set(ids)
    found, _ = read_places(root, info)
    places: dict[str, Place] = {}
    for place in found:
        if place.name in wanted:
            # Another of the same id is no episode of the data set as it is read.
            places.setdefault(place.name, place)
    new_folder(to)
    _Copying(root, info, list(places.values()), to, additions).run()


@dataclass(frozen=True, slots=True)
class _Target:
    """Where an episode goes: its index, and its first row among all rows."""

    index: int
    first_row: int


class _Copying:
    def __init__(
        self, root: Path, info: Info, places: Sequence[Place], to: Path, additions: Additions
    ) -> None:
        self._root = root
        self._info = info
        self._places = places
        self._to = to
        self._additions = additions
        self._added = sorted({name for columns in additions.values() for name in columns})
        self._tasks = read_tasks(root, info)
        self._schema: pa.Schema | None = None
        self._numeric = list(dict.fromkeys([*info.numeric, *ROW_INDICES]))

    def run(self) -> None:
        videos = self._copy_videos()
        files = DataFiles(self._to, DATA_FILE_MB * MEGABYTE)
        metadata, parts = [], []
        first = 0
        try:
            for index, place in enumerate(self._places):
                table = self._rows(place, _Target(index, first))
                parts.append(table.select([*self._present(table), *self._added]))
                metadata.append(
                    {
                        **self._kept(place),
                        "episode_index": index,
                        **files.add(table),
                        "dataset_from_index": first,
                        "dataset_to_index": first + place.length,
                        **{key: value for clip in videos[index] for key, value in clip.items()},
                        "meta/episodes/chunk_index": 0,
                        "meta/episodes/file_index": 0,
                        f"{OWN}id": place.name,
                    }
                )
                first += place.length
        finally:
            files.close()
        path = self._to / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(episodes_table(metadata), path)
        self._write_tasks()
        write_json(self._to / STATS_PATH, self._stats(pa.concat_tables(parts)))
        write_json(self._to / INFO_FILE, self._new_info(first))

    def _present(self, table: pa.Table) -> list[str]:
        return [
            name for name in self._numeric if name in table.column_names and name not in self._added
        ]

    def _rows(self, place: Place, target: _Target) -> pa.Table:
        table = episode_rows(place)
        frames = np.arange(place.length)
        mine = self._additions.get(place.name, {})
        missing = {
            TIMESTAMP: (frames / self._info.fps).astype(np.float32),
            FRAME_INDEX: frames,
            TASK_INDEX: np.full(place.length, self._task_index(place)),
        }
        changed: dict[str, NDArray[Any]] = {
            **{name: values for name, values in missing.items() if name not in table.column_names},
            EPISODE_INDEX: np.full(place.length, target.index),
            INDEX: target.first_row + frames,
            **{name: mine.get(name, np.full(place.length, np.nan)) for name in self._added},
        }
        for name, values in changed.items():
            column = pa.array(values)
            if name in table.column_names:
                at = table.schema.get_field_index(name)
                table = table.set_column(at, name, column)
            else:
                table = table.append_column(name, column)
        return self._like_the_first(table, place)

    def _like_the_first(self, table: pa.Table, place: Place) -> pa.Table:
        """Rows with the columns and types of the first episode's, which share its files."""
        if self._schema is None:
            self._schema = table.schema
        try:
            return table.select(self._schema.names).cast(self._schema)
        except (KeyError, ValueError, pa.ArrowException) as error:
            raise RecordingError(
                f"{place.data}: its columns are not those of the first episode: {error}"
            ) from error

    def _task_index(self, place: Place) -> int:
        """Of the task that the metadata name; the first task's where they name none."""
        return next((index for index, task in self._tasks.items() if task == place.task), 0)

    def _kept(self, place: Place) -> dict[str, Any]:
        """Metadata that do not say where the episode lies."""
        return {
            "tasks": [place.task] if place.task else [],
            **{
                name: value
                for name, value in place.metadata.items()
                if not name.startswith(("data/", "videos/", "meta/"))
            },
        }

    def _copy_videos(self) -> list[list[dict[str, Any]]]:
        """Copies each video once; returns each episode's places in them."""
        copied: dict[str, dict[Path, int]] = {}
        found = []
        for place in self._places:
            clips = []
            for camera, clip in place.clips.items():
                numbers = copied.setdefault(camera, {})
                if clip.path not in numbers:
                    numbers[clip.path] = len(numbers)
                    name = VIDEO_PATH.format(video_key=camera, **numbered(numbers[clip.path]))
                    target = inside(self._to, name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(clip.path, target)
                spot = {
                    **numbered(numbers[clip.path]),
                    "from_timestamp": clip.start,
                    "to_timestamp": clip.end,
                }
                clips.append({f"videos/{camera}/{name}": value for name, value in spot.items()})
            found.append(clips)
        return found

    def _write_tasks(self) -> None:
        if self._info.has_shared_files:
            for name in (TASKS_PATH, "meta/subtasks.parquet"):
                if (self._root / name).is_file():
                    shutil.copyfile(self._root / name, self._to / name)
            return
        tasks = self._tasks
        if sorted(tasks) != list(range(len(tasks))):
            raise RecordingError(f"{self._root}/meta/tasks.jsonl does not number tasks from 0")
        pq.write_table(
            tasks_table([tasks[index] for index in sorted(tasks)]), self._to / TASKS_PATH
        )

    def _stats(self, rows: pa.Table) -> dict[str, Any]:
        """Of the copied rows; of the cameras, the source's where it has them."""
        path = self._root / STATS_PATH
        old: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        cameras = {
            name: old[name] if name in old else self._camera_stats(name)
            for name in self._info.cameras
        }
        columns = {
            name: as_array(self._to, name, rows.column(name), self._shape(name))
            for name in rows.column_names
        }
        return cameras | numeric_stats(columns)

    def _camera_stats(self, camera: str) -> dict[str, Any]:
        """Of sampled frames, for v2.1 keeps statistics of episodes alone."""
        wanted = {place.name for place in self._places}
        found = [one for one in read_lerobot(self._root, camera).episodes if one.id in wanted]
        stats = CameraStats(sum(len(episode.frames) for episode in found))
        for episode in found:
            for index in range(len(episode.frames)):
                if stats.due():
                    stats.add(as_pixels(episode.frames[index]))
        return stats.result()

    def _shape(self, name: str) -> list[int]:
        return [1] if name in self._added else self._info.shape_of(name)

    def _new_info(self, rows: int) -> dict[str, Any]:
        info = json.loads((self._root / INFO_FILE).read_text("utf-8"))
        # Counts of v2.x that v3.0 does not have.
        for name in ("total_chunks", "total_videos"):
            info.pop(name, None)
        count = len(self._places)
        dtypes = {
            **{name: "int64" for name in ROW_INDICES if name not in self._info.features},
            **dict.fromkeys(self._added, "float64"),
        }
        if TIMESTAMP in dtypes:
            dtypes[TIMESTAMP] = "float32"
        added = {
            name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in dtypes.items()
        }
        has_video = any(feature.dtype == "video" for feature in self._info.features.values())
        return {
            **info,
            "codebase_version": VERSION,
            "total_episodes": count,
            "total_frames": rows,
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "splits": {"train": f"0:{count}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if has_video else None,
            "features": {**info["features"], **added},
        }
