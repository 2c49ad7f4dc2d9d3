"""Files under ``meta/`` as LeRobot reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.names import OWN

_OWN_TYPES: Final = {
    # Where no episode has a value, Arrow cannot tell the type.
    f"{OWN}seed": pa.int64(),
    f"{OWN}success": pa.bool_(),
    f"{OWN}fps": pa.float64(),
}


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """``task_index`` with the tasks in words as pandas' index, which LeRobot reads them with."""
    index = "__index_level_0__"
    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            {
                "name": name,
                "field_name": field,
                "pandas_type": kind,
                "numpy_type": dtype,
                "metadata": None,
            }
            for name, field, kind, dtype in (
                ("task_index", "task_index", "int64", "int64"),
                (None, index, "unicode", "object"),
            )
        ],
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": np.arange(len(tasks)), index: list(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def episodes_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Episodes' metadata, null where an episode lacks what another has.

    Raises:
        RecordingError: episodes disagree about what a column holds.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON as LeRobot lays it out."""
    text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", "utf-8")


def _column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, _OWN_TYPES.get(name))
    except pa.ArrowException as error:
        raise RecordingError(
            f"{name} in meta/episodes is not of one kind in all episodes: {error}"
        ) from error
