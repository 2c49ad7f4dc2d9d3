"""The columns of a LeRobot data set that is written: names, types, and an episode's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.lerobot.names import (
    EPISODE_INDEX,
    FRAME_INDEX,
    INDEX,
    LABELS,
    NEXT_REWARD,
    OUTCOMES,
    PROGRESS,
    REWARD,
    STEP,
    SUCCESS,
    TASK_INDEX,
    TIMESTAMP,
    UNKNOWN,
)
from lrm_server.recordings.lerobot.outcomes import outcomes_of

IMAGE_TYPE: Final = pa.struct({"bytes": pa.binary(), "path": pa.string()})

Column = NDArray[Any]


class Columns:
    """Which columns the rows of these episodes have: the same ones in every row.

    A label that one of the episodes has is a column; in the rows of those without it stands NaN, or
    -1 for success. The outcomes ``next.success`` and ``next.reward`` can say no such thing, and are
    written only where every episode has them: as they were recorded, else as its labels say.

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
        self._outcomes = [
            name for name in OUTCOMES if all(name in _outcomes(episode) for episode in episodes)
        ]
        self._others: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        for episode in episodes:
            for name, values in episode.columns.items():
                if name not in OUTCOMES:
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
            TIMESTAMP: (frames / fps).astype(np.float32),
            FRAME_INDEX: frames,
            EPISODE_INDEX: np.full(count, index),
            INDEX: frames + first_row,
            TASK_INDEX: np.full(count, task_index),
            STEP: episode.steps,
        }
        if self._success:
            done = episode.done
            rows[SUCCESS] = np.full(count, UNKNOWN) if done is None else done.astype(np.int64)
        if self._reward:
            rows[REWARD] = _or_nan(episode.rewards, count)
        if self._progress:
            rows[PROGRESS] = _or_nan(episode.progress, count)
        outcomes = _outcomes(episode)
        rows |= {name: outcomes[name] for name in self._outcomes}
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


def _outcomes(episode: RecordedEpisode) -> dict[str, Column]:
    """What followed each frame's action, as it was recorded or as the labels say.

    Recorded outcomes with gaps are no outcomes: LeRobot's types have no gaps, and what the labels
    say in their place would be made up.
    """
    outcomes = outcomes_of(len(episode.frames), episode.success, episode.done, episode.rewards)
    for name in OUTCOMES:
        values = episode.columns.get(name)
        if values is None:
            continue
        outcomes.pop(name, None)
        if values.ndim == 1 and values.dtype.kind in "biuf" and np.all(np.isfinite(values)):
            outcomes[name] = values.astype(np.float32 if name == NEXT_REWARD else np.bool_)
    return outcomes


def _or_nan(values: NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
    return np.full(count, np.nan) if values is None else values
