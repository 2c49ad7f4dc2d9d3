"""Files under ``meta/`` as LeRobot reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa


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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON as LeRobot lays it out."""
    text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", "utf-8")
