"""The columns of a LeRobot data set that is written: names, types, and an episode's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.lerobot.names import (
    LABELS,
    NEXT_DONE,
    NEXT_REWARD,
    NEXT_SUCCESS,
    PROGRESS,
    REWARD,
    STEP,
    SUCCESS,
    UNKNOWN,
)

IMAGE_TYPE: Final = pa.struct({"bytes": pa.binary(), "path": pa.string()})

Column = NDArray[Any]


class Columns:
    """Which columns the rows of these episodes have: the same ones in every row.

    A label that one of the episodes has is a column; in the rows of those without it stands NaN, or
    -1 for success. ``next.success`` and ``next.reward`` can say no such thing, and are written only
    where every episode has them.

    Raises:
        RecordingError: a name that is taken, or a column that differs between the episodes.
    """

    def __init__(self, episodes: Sequence[RecordedEpisode]) -> None:
        # Also where the end alone is known, lest next.success be taken for every frame's.
        self._success = any(episode.success is not None for episode in episodes) or any(
            episode.done is not None for episode in episodes
        )
        self._reward = any(episode.rewards is not None for episode in episodes)
        self._progress = any(episode.progress is not None for episode in episodes)
        self._next_success = all(episode.success is not None for episode in episodes)
        self._next_reward = all(episode.rewards is not None for episode in episodes)
        self._others: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        for episode in episodes:
            for name, values in episode.columns.items():
                self._declare(episode, name, values)
        for episode in episodes:
            for name, (dtype, _) in self._others.items():
                if name not in episode.columns and dtype.kind != "f":
                    raise RecordingError(
                        f"episode {episode.id!r} has no column {name!r}, which others have: give "
                        "it to all or to none"
                    )

    def _declare(self, episode: RecordedEpisode, name: str, values: Column) -> None:
        if name in LABELS or "/" in name:
            raise RecordingError(
                f"episode {episode.id!r}: a column cannot be called {name!r} in LeRobot's layout: "
                "rename it"
            )
        kind = (values.dtype, values.shape[1:])
        if values.dtype.kind not in "biuf" or len(kind[1]) > 1:
            raise RecordingError(
                f"episode {episode.id!r}: column {name!r} must be numbers, one or a row of them "
                "a frame"
            )
        if self._others.setdefault(name, kind) != kind:
            raise RecordingError(
                f"episode {episode.id!r}: column {name!r} is {kind}, but {self._others[name]} in "
                "others: make them one"
            )

    def of(
        self, episode: RecordedEpisode, index: int, first_row: int, task_index: int, fps: float
    ) -> dict[str, Column]:
        """An episode's rows, column by column: (F,) or (F, n)."""
        count = len(episode.frames)
        frames = np.arange(count)
        rows: dict[str, Column] = {
            "timestamp": (frames / fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(count, index),
            "index": frames + first_row,
            "task_index": np.full(count, task_index),
            STEP: episode.steps,
            # The action at the last frame but one ends the attempt, and none follows the last.
            NEXT_DONE: frames >= count - 2,
        }
        if self._success:
            done = episode.done
            rows[SUCCESS] = np.full(count, UNKNOWN) if done is None else done.astype(np.int64)
        if self._reward:
            rows[REWARD] = _or_nan(episode.rewards, count)
        if self._progress:
            rows[PROGRESS] = _or_nan(episode.progress, count)
        if self._next_success:
            rows[NEXT_SUCCESS] = _next_success(episode)
        if self._next_reward:
            assert episode.rewards is not None  # noqa: S101
            rows[NEXT_REWARD] = np.append(episode.rewards[1:], 0.0).astype(np.float32)
        for name, (dtype, shape) in self._others.items():
            values = episode.columns.get(name)
            rows[name] = np.full((count, *shape), np.nan, dtype) if values is None else values
        return rows


def features_of(rows: Mapping[str, Column]) -> dict[str, dict[str, Any]]:
    """The columns as ``features`` of ``meta/info.json``."""
    return {
        name: {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": None}
        for name, values in rows.items()
    }


def as_table(
    rows: Mapping[str, Column], images: tuple[str, list[dict[str, Any]]] | None
) -> pa.Table:
    """The rows as they are stored, with a camera's images where they are no video."""
    columns = {name: _as_arrow(values) for name, values in rows.items()}
    if images is not None:
        columns[images[0]] = pa.array(images[1], IMAGE_TYPE)
    return pa.table(columns)


def _as_arrow(values: Column) -> pa.Array:
    if values.ndim == 1 or values.shape[1] == 1:
        # A shape of [1] is a plain number in LeRobot's files.
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _next_success(episode: RecordedEpisode) -> Column:
    """Success after each frame's action; where only the end is known, only there."""
    if episode.done is None:
        flags = np.zeros(len(episode.frames), np.bool_)
        flags[-2:] = bool(episode.success)
        return flags
    return np.append(episode.done[1:], episode.done[-1])


def _or_nan(values: NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
    return np.full(count, np.nan) if values is None else values
