"""An episode's labels in the columns of a LeRobot data set, whoever wrote it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.names import PROGRESS, STEP, UNKNOWN
from lrm_server.recordings.lerobot.rows import Rows


def flags(rows: Rows, name: str) -> NDArray[np.bool_] | None:
    """A column of flags; None without it, and where one of them is unknown.

    Raises:
        RecordingError: it holds something else.
    """
    values = numbers(rows, name)
    if values is None or np.any(np.isnan(values) | (values == UNKNOWN)):
        return None
    if not np.isin(values, (0, 1)).all():
        raise RecordingError(f"column {name} must hold true and false, or 1 and 0")
    return values.astype(np.bool_)


def numbers(rows: Rows, name: str) -> NDArray[np.float64] | None:
    """A column of numbers, NaN where one is unknown; None without it, and without any number.

    Raises:
        RecordingError: it holds something else than one number a row.
    """
    values = rows.get(name)
    if values is None:
        return None
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise RecordingError(f"column {name} must hold one number a row")
    numeric = values.astype(np.float64)
    return None if np.all(np.isnan(numeric)) else numeric


def steps_of(rows: Rows, count: int) -> NDArray[np.int64]:
    """The environment steps of the rows; in data sets of others, a step a row.

    Raises:
        RecordingError: they are no whole numbers.
    """
    if STEP not in rows:
        return np.arange(count)
    values = numbers(rows, STEP)
    if values is None or not np.array_equal(values, np.floor(values)):
        raise RecordingError(f"column {STEP} must hold whole numbers, without gaps")
    return values.astype(np.int64)


def progress_of(rows: Rows) -> NDArray[np.float64] | None:
    """Progress where the column is one; what others call so may be a percentage, or have gaps.

    Raises:
        RecordingError: it is no column of numbers.
    """
    values = rows.get(PROGRESS)
    if values is not None and STEP not in rows:
        fits = values.ndim == 1 and np.all((values >= 0) & (values <= 1))
        if not fits:
            return None
    return numbers(rows, PROGRESS)
