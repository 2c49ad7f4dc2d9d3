"""Where each episode of a LeRobot data set lies: its metadata, in either version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.info import TASKS_PATH, Info, file_path
from lrm_server.recordings.lerobot.names import OWN


@dataclass(frozen=True, slots=True)
class Clip:
    """An episode's frames in a video.

    Attributes:
        path: of the video.
        start: seconds in it at which the episode begins.
        end: and at which it ends.
    """

    path: Path
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where one episode lies.

    Attributes:
        index: ``episode_index``.
        task: in words; empty when only the rows know it.
        length: rows that it must have.
        data: its Parquet file.
        clips: camera -> its video, of the cameras that are videos.
        metadata: all that ``meta/episodes`` says of it, without statistics.
    """

    index: int
    task: str
    length: int
    data: Path
    clips: Mapping[str, Clip]
    metadata: Mapping[str, Any]

    @property
    def extras(self) -> dict[str, Any]:
        """Labels among the metadata: ``success``, and ``lrm/...`` without the prefix."""
        labels = {
            name.removeprefix(OWN): value
            for name, value in self.metadata.items()
            if name.startswith(OWN)
        }
        if self.metadata.get("success") is not None:
            labels.setdefault("success", self.metadata["success"])
        return labels

    @property
    def name(self) -> str:
        """The episode's id."""
        return str(self.extras.get("id") or f"episode_{self.index:06d}")


def read_places(root: Path, info: Info) -> list[Place]:
    """The places of all episodes, in the order of their indices.

    Raises:
        RecordingError: the metadata cannot be read.
    """
    rows = _shared(root) if info.has_shared_files else _lines(root / "meta/episodes.jsonl")
    try:
        places = [_place(root, info, row) for row in rows]
    except RecordingError:
        raise
    except KeyError as error:
        raise RecordingError(f"{root}/meta/episodes lacks the column {error}") from error
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{root}/meta/episodes holds something else: {error}") from error
    return sorted(places, key=lambda place: place.index)


def read_tasks(root: Path, info: Info) -> dict[int, str]:
    """``task_index`` -> the task in words.

    Raises:
        RecordingError: the file cannot be read.
    """
    if not info.has_shared_files:
        return {
            int(row["task_index"]): str(row["task"]) for row in _lines(root / "meta/tasks.jsonl")
        }
    table = read_table(root / TASKS_PATH)
    # The words are pandas' index, whose column has had several names.
    texts = [
        name
        for name in table.column_names
        if pa.types.is_string(table.schema.field(name).type)
        or pa.types.is_large_string(table.schema.field(name).type)
    ]
    if "task_index" not in table.column_names or not texts:
        raise RecordingError(f"{root / TASKS_PATH} lacks task_index or the tasks in words")
    columns = table.to_pydict()
    return dict(zip(columns["task_index"], columns[texts[0]], strict=True))


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file's table.

    Raises:
        RecordingError: it is missing or broken.
    """
    try:
        return pq.ParquetFile(path).read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error


def _shared(root: Path) -> list[dict[str, Any]]:
    files = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise RecordingError(f"{root}/meta/episodes holds no Parquet file")
    rows: list[dict[str, Any]] = []
    for path in files:
        names = [name for name in _column_names(path) if not name.startswith("stats/")]
        rows += read_table(path, names).to_pylist()
    return rows


def _column_names(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error


def _place(root: Path, info: Info, row: Mapping[str, Any]) -> Place:
    index, length = int(row["episode_index"]), int(row["length"])
    old = {"episode_chunk": index // info.chunks_size, "episode_index": index}
    clips = {}
    for camera, feature in info.features.items():
        if feature.dtype != "video":
            continue
        parts: Mapping[str, Any] = old
        start, end = 0.0, length / info.fps
        if info.has_shared_files:
            parts = _file_of(row, f"videos/{camera}/")
            start = float(row[f"videos/{camera}/from_timestamp"])
            end = float(row[f"videos/{camera}/to_timestamp"])
        path = file_path(root, "video_path", info.video_path, video_key=camera, **parts)
        clips[camera] = Clip(path, start, end)
    parts = _file_of(row, "data/") if info.has_shared_files else old
    return Place(
        index=index,
        task=next(iter(row.get("tasks") or ()), ""),
        length=length,
        data=file_path(root, "data_path", info.data_path, **parts),
        clips=clips,
        metadata=row,
    )


def _file_of(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name: row[f"{prefix}{name}"] for name in ("chunk_index", "file_index")}
