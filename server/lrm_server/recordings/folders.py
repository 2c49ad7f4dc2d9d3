"""Plain folders: one folder an episode, with its frames and an ``episode.json``.

    {"task": "Pick up the red cube.", "frames": [{"file": "0000.jpg"}, {"file": "0005.jpg"}]}

is enough. A frame may also say its ``step`` (else its place in the list), ``progress``, ``done``
and ``reward``: each for all frames of an episode or for none. An episode may say its ``id`` (else
its folder's name), ``env_id``, ``seed``, ``kind``, ``success``, ``length``, ``fps``, and
``columns`` of other numbers, a row each frame, with null where there is none, and the ``dtypes`` of
those that are not float64, int64 or bool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from lrm_server.recordings.contents import Contents, Gathered
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.frames import FileFrames, image_file
from lrm_server.recordings.scores import Scores, with_scores
from lrm_server.recordings.targets import as_folder_name, new_folder

EPISODE_FILE: Final = "episode.json"
LAYOUT: Final = "folders"


def _inside(name: str) -> str:
    parts = PurePosixPath(name).parts + PureWindowsPath(name).parts
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    if absolute or ".." in parts or not parts:
        raise ValueError("must name a file inside the episode's folder")
    return name


Dtype = Literal[
    "float16", "float32", "int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"
]
"""Of columns whose numbers do not say it themselves in JSON."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class FrameEntry(_Strict):
    """One frame in an ``episode.json``; see RecordedEpisode for what the labels mean."""

    file: Annotated[str, AfterValidator(_inside)]
    step: Annotated[int, Field(ge=0)] | None = None
    progress: Annotated[float, Field(ge=0, le=1)] | None = None
    done: bool | None = None
    reward: float | None = None


class EpisodeEntry(_Strict):
    """An ``episode.json``; see RecordedEpisode for what the labels mean."""

    id: Annotated[str, Field(min_length=1)] | None = None
    env_id: str = ""
    task: Annotated[str, Field(min_length=1)]
    seed: int | None = None
    kind: str = ""
    success: bool | None = None
    length: Annotated[int, Field(ge=0)] | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    frames: Annotated[list[FrameEntry], Field(min_length=1)]
    columns: dict[str, list[JsonValue]] = {}
    dtypes: dict[str, Dtype] = {}


Entry = TypeVar("Entry", bound=_Strict)


def read_folders(root: Path) -> Contents:
    """Reads the episodes of the folders under ``root``, in the order of their names."""
    gathered = Gathered()
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            gathered.add(folder.name, partial(read_folder, folder))
    return gathered.contents(LAYOUT)


def read_folder(folder: Path) -> RecordedEpisode:
    """Reads one episode.

    Raises:
        RecordingError: its ``episode.json`` is missing or wrong (the field is named), or not one
            of its frames is there.
    """
    path = folder / EPISODE_FILE
    try:
        entry = EpisodeEntry.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise RecordingError(f"{path}: {_first_problem(error)}") from error
    files = [folder / frame.file for frame in entry.frames]
    if not any(file.is_file() for file in files):
        raise RecordingError(f"{folder}: not one of the frames in {EPISODE_FILE} is there")
    name = entry.id or folder.name
    frames = entry.frames
    steps = _column(path, "step", [frame.step for frame in frames], np.int64)
    if steps is None:
        steps = np.arange(len(frames), dtype=np.int64)
    done = _column(path, "done", [frame.done for frame in frames], np.bool_)
    success = entry.success
    if success is None and done is not None:
        success = bool(done[-1])
    return RecordedEpisode(
        id=name,
        task=entry.task,
        frames=FileFrames(name, files),
        steps=steps,
        length=int(steps[-1]) if entry.length is None else entry.length,
        success=success,
        done=done,
        progress=_column(path, "progress", [frame.progress for frame in frames], np.float64),
        rewards=_column(path, "reward", [frame.reward for frame in frames], np.float64),
        fps=entry.fps,
        group=entry.env_id,
        kind=entry.kind,
        seed=entry.seed,
        columns={
            key: _numbers(path, key, rows, entry.dtypes.get(key))
            for key, rows in entry.columns.items()
        },
    )


def write_folders(
    episodes: Iterable[RecordedEpisode], to: Path, scores: Scores | None = None
) -> None:
    """Writes episodes as folders, each as it comes; JPEG and PNG frames byte for byte.

    Args:
        episodes: with ids that are unique.
        to: a folder that is empty or not there yet.
        scores: what a model said about them, written as columns.

    Raises:
        RecordingError: ``to`` holds something, two ids are the same, or a frame cannot be read.
        OSError: it cannot be written.
    """
    new_folder(to)
    for episode in episodes:
        write_folder(with_scores(episode, scores), to)


def write_folder(episode: RecordedEpisode, root: Path) -> Path:
    """Writes one episode as a new folder under ``root`` and returns it."""
    folder = root / as_folder_name(episode.id)
    # Before the frames, lest what cannot be said leaves a folder without its episode.json.
    entry = _entry(episode)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise RecordingError(f"{folder} exists: give episodes ids that differ") from error
    width = max(4, len(str(episode.steps[-1])))
    frames = []
    for at, step, frame in zip(entry.frames, episode.steps.tolist(), episode.frames, strict=True):
        data, suffix = image_file(frame)
        file = f"{step:0{width}d}{suffix}"
        (folder / file).write_bytes(data)
        frames.append(at.model_copy(update={"file": file}))
    entry = entry.model_copy(update={"frames": frames})
    content = entry.model_dump(exclude_none=True, exclude_defaults=True)
    # Last, so that a folder with an episode.json is whole.
    (folder / EPISODE_FILE).write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
    )
    return folder


def _entry(episode: RecordedEpisode) -> EpisodeEntry:
    """What is said of an episode, its frames' files being named once they are written.

    Raises:
        RecordingError: it cannot be said in JSON; the step is named.
    """
    return _checked(
        episode,
        EpisodeEntry,
        id=episode.id,
        env_id=episode.group,
        task=episode.task,
        seed=episode.seed,
        kind=episode.kind,
        success=episode.success,
        length=episode.length,
        fps=episode.fps,
        frames=[
            _checked(
                episode,
                FrameEntry,
                f"step {step}: ",
                file=str(step),
                step=step,
                progress=_at(episode.progress, index),
                done=_at(episode.done, index),
                reward=_at(episode.rewards, index),
            )
            for index, step in enumerate(episode.steps.tolist())
        ],
        columns={name: _as_json(values) for name, values in episode.columns.items()},
        dtypes={
            name: str(values.dtype)
            for name, values in episode.columns.items()
            if str(values.dtype) in get_args(Dtype)
        },
    )


def _checked(
    episode: RecordedEpisode, entry: type[Entry], place: str = "", /, **fields: Any
) -> Entry:
    try:
        return entry(**fields)
    except ValidationError as error:
        owner = f"episode {episode.id!r}" + (f" of {episode.group}" if episode.group else "")
        raise RecordingError(f"{owner}: {place}{_first_problem(error)}") from error


def _column(path: Path, name: str, values: list[Any], dtype: type[Any]) -> NDArray[Any] | None:
    missing = [index for index, value in enumerate(values) if value is None]
    if len(missing) == len(values):
        return None
    if missing:
        raise RecordingError(
            f"{path}: frames.{missing[0]}.{name} is missing: give it for every frame or for none"
        )
    return np.asarray(values, dtype)


def _numbers(path: Path, name: str, rows: list[JsonValue], dtype: Dtype | None) -> NDArray[Any]:
    try:
        array = np.asarray(rows, None if _whole(rows) else np.float64)
    except (TypeError, ValueError) as error:
        raise RecordingError(
            f"{path}: columns.{name} must hold numbers, or lists of equal length: {error}"
        ) from error
    if array.dtype.kind not in "biuf":
        raise RecordingError(f"{path}: columns.{name} must hold numbers")
    if dtype is None:
        return array
    if array.dtype.kind == "f" and np.dtype(dtype).kind != "f":
        raise RecordingError(f"{path}: columns.{name} has gaps, and cannot be {dtype}")
    cast: NDArray[Any] = array.astype(dtype)
    if cast.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise RecordingError(f"{path}: columns.{name} has numbers that are no {dtype}")
    return cast


def _whole(rows: JsonValue) -> bool:
    """Whether all numbers are integers, or all are booleans: null needs a float's NaN."""
    if isinstance(rows, list):
        return all(_whole(row) for row in rows)
    return isinstance(rows, int)


def _at(values: NDArray[Any] | None, index: int) -> Any:
    return None if values is None else values[index].item()


def _as_json(values: NDArray[Any]) -> list[Any]:
    if values.dtype.kind != "f":
        return list(values.tolist())
    numbers = values.astype(object)
    numbers[~np.isfinite(values)] = None
    return list(numbers.tolist())


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    return f"{field or 'the file'}: {problem['msg']}"
