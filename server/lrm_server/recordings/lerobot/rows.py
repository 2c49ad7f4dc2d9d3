"""Rows of Parquet files as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.index import Place, read_table

Rows = Mapping[str, NDArray[Any]]
"""Column -> (rows, ...)."""


def rows_of(columns: Rows, place: Place) -> tuple[int, Rows]:
    """The place of an episode's first row in its file, and its rows.

    Raises:
        RecordingError: they are not as many as the metadata say, or not together.
    """
    (rows,) = np.nonzero(columns["episode_index"] == place.index)
    if len(rows) != place.length or not len(rows):
        raise RecordingError(
            f"{place.data} has {len(rows)} rows of episode {place.index}, but its metadata say "
            f"{place.length}"
        )
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 != len(rows):
        raise RecordingError(f"{place.data}: the rows of episode {place.index} are not together")
    return first, {name: values[first : last + 1] for name, values in columns.items()}


def as_array(path: Path, name: str, column: pa.ChunkedArray, shape: list[int]) -> NDArray[Any]:
    """A column as (rows, ...), with the feature's shape unless that is one number.

    Gaps among numbers and flags are NaN.

    Raises:
        RecordingError: it is of another shape, or holds no numbers.
    """
    flat = column.combine_chunks()
    if isinstance(flat, pa.ExtensionArray):
        flat = flat.storage
    while (
        pa.types.is_list(flat.type)
        or pa.types.is_large_list(flat.type)
        or pa.types.is_fixed_size_list(flat.type)
    ):
        flat = flat.flatten()
    if flat.null_count and pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())
    values: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "biuf":
        if flat.null_count < len(flat):
            raise RecordingError(f"{path}: column {name} must hold numbers, not {column.type}")
        values = np.full(len(flat), np.nan)
    try:
        return values.reshape(len(column), *(shape if shape != [1] else ()))
    except ValueError as error:
        raise RecordingError(
            f"{path}: column {name} is not of the shape {shape} that meta/info.json names"
        ) from error


def episode_rows(place: Place) -> pa.Table:
    """An episode's rows with all their columns, images too.

    Raises:
        RecordingError: the file cannot be read, or does not hold them.
    """
    indices = read_table(place.data, ["episode_index"]).column("episode_index").to_numpy()
    first, _ = rows_of({"episode_index": indices}, place)
    return table_slice(place.data, None, first, place.length)


def table_slice(path: Path, columns: list[str] | None, first: int, count: int) -> pa.Table:
    """Rows of a file, of which only the row groups that hold them are read.

    Raises:
        RecordingError: it cannot be read.
    """
    try:
        file = pq.ParquetFile(path)
        ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
        groups = np.arange(
            np.searchsorted(ends, first, "right"), np.searchsorted(ends, first + count) + 1
        )
        table = file.read_row_groups(groups.tolist(), columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"it cannot be read: {error}") from error
    before = int(ends[groups[0]]) - file.metadata.row_group(int(groups[0])).num_rows
    return table.slice(first - before, count)
