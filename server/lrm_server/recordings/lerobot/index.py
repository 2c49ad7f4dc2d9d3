"""Where each episode of a LeRobot data set lies: its metadata, in either version."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lrm_server.recordings.contents import Problem
from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.info import TASKS_PATH, Info, file_path
from lrm_server.recordings.lerobot.metadata import number_of, success_of, task_of, whole_of
from lrm_server.recordings.lerobot.names import EPISODE_INDEX, OWN, TASK_INDEX

Number = TypeVar("Number", int, float)


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
        task: in words; empty when only the rows know it, or which of several it is.
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
    def success(self) -> bool | None:
        """Whether the attempt ends in success; None where the metadata do not say.

        Raises:
            RecordingError: they say what is no flag.
        """
        own = success_of(self.metadata, f"{OWN}success")
        return success_of(self.metadata, "success") if own is None else own

    @property
    def name(self) -> str:
        """The episode's id."""
        return str(self.metadata.get(f"{OWN}id") or f"episode_{self.index:06d}")


def read_places(root: Path, info: Info) -> tuple[list[Place], list[Problem]]:
    """The places of the episodes, in the order of their indices, and those that have none.

    Raises:
        RecordingError: the metadata cannot be read.
    """
    rows = _shared(root) if info.has_shared_files else _lines(root / "meta/episodes.jsonl")
    found = [_place_or_problem(root, info, number, row) for number, row in enumerate(rows)]
    places = [each for each in found if isinstance(each, Place)]
    problems = [each for each in found if isinstance(each, Problem)]
    return sorted(places, key=lambda place: place.index), problems


def read_tasks(root: Path, info: Info) -> dict[int, str]:
    """``task_index`` -> the task in words.

    Raises:
        RecordingError: the file cannot be read.
    """
    if not info.has_shared_files:
        path = root / "meta/tasks.jsonl"
        tasks = {}
        for number, row in enumerate(_lines(path)):
            index, task = whole_of(row, TASK_INDEX), row.get("task")
            if index is None or not isinstance(task, str):
                raise RecordingError(f"{path}: row {number} lacks {TASK_INDEX} or task, in words")
            tasks[index] = task
        return tasks
    table = read_table(root / TASKS_PATH)
    # The words are pandas' index, whose column has had several names.
    texts = [
        name
        for name in table.column_names
        if pa.types.is_string(table.schema.field(name).type)
        or pa.types.is_large_string(table.schema.field(name).type)
    ]
    if TASK_INDEX not in table.column_names or not texts:
        raise RecordingError(f"{root / TASKS_PATH} lacks {TASK_INDEX} or the tasks in words")
    columns = table.to_pydict()
    return dict(zip(columns[TASK_INDEX], columns[texts[0]], strict=True))


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
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise RecordingError(f"{path} must hold an object a line")
    return rows


def _place_or_problem(
    root: Path, info: Info, number: int, row: Mapping[str, Any]
) -> Place | Problem:
    try:
        return _place(root, info, row)
    except RecordingError as error:
        return Problem(f"meta/episodes, row {number}", str(error))


def _place(root: Path, info: Info, row: Mapping[str, Any]) -> Place:
    index, length = _count(row, EPISODE_INDEX), _count(row, "length")
    old = {"episode_chunk": index // info.chunks_size, "episode_index": index}
    clips = {}
    for camera, feature in info.features.items():
        if feature.dtype != "video":
            continue
        parts: Mapping[str, Any] = old
        start, end = 0.0, length / info.fps
        if info.has_shared_files:
            parts = _file_of(row, f"videos/{camera}/")
            start = _given(number_of, row, f"videos/{camera}/from_timestamp")
            end = _given(number_of, row, f"videos/{camera}/to_timestamp")
        path = file_path(root, "video_path", info.video_path, video_key=camera, **parts)
        clips[camera] = Clip(path, start, end)
    parts = _file_of(row, "data/") if info.has_shared_files else old
    return Place(
        index=index,
        task=task_of(row),
        length=length,
        data=file_path(root, "data_path", info.data_path, **parts),
        clips=clips,
        metadata=row,
    )


def _file_of(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name: _count(row, f"{prefix}{name}") for name in ("chunk_index", "file_index")}


def _count(row: Mapping[str, Any], name: str) -> int:
    count = _given(whole_of, row, name)
    if count < 0:
        raise RecordingError(f"{name} in meta/episodes is {count}: it cannot be negative")
    return count


def _given(
    read: Callable[[Mapping[str, Any], str], Number | None], row: Mapping[str, Any], name: str
) -> Number:
    value = read(row, name)
    if value is None:
        raise RecordingError(f"meta/episodes lacks the column {name}, or a value there")
    return value
