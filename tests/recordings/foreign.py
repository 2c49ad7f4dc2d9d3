"""A small data set in LeRobot's layout as another program may have written it: v2.1, images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.recordings.made import encoded, grey

CAMERA = "observation.images.front"
COUNT = 3

_NUMBERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def write_foreign(
    root: Path,
    *,
    columns: Mapping[str, Any] | None = None,
    shapes: Mapping[str, list[int]] | None = None,
    lines: Mapping[int, Mapping[str, Any]] | None = None,
    without: Sequence[str] = (),
    camera: str = CAMERA,
    tasks: Sequence[Mapping[str, Any]] = ({"task_index": 0, "task": "Push."},),
    only: int | None = None,
) -> Path:
    """Two episodes of three frames.

    Args:
        root: the folder.
        columns: more columns of the rows, or others; Arrow arrays, or what becomes one.
        shapes: of columns that are not one number.
        lines: what ``meta/episodes.jsonl`` says of an episode beside the usual.
        without: columns to leave out.
        camera: its name.
        tasks: the lines of ``meta/tasks.jsonl``.
        only: the episode that ``columns`` are of; all where it is None.
    """
    (root / "meta").mkdir(parents=True)
    extra = {name: pa.array(values) for name, values in (columns or {}).items()}
    kinds = {**dict.fromkeys(extra, "float32"), **_NUMBERS}
    features = {
        camera: {"dtype": "image", "shape": [8, 8, 3]},
        **{
            name: {"dtype": kind, "shape": (shapes or {}).get(name, [1])}
            for name, kind in kinds.items()
            if name not in without
        },
    }
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "features": features,
        "data_path": "data/episode_{episode_index:06d}.parquet",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/tasks.jsonl").write_text("".join(f"{json.dumps(task)}\n" for task in tasks))
    said = [
        {
            "episode_index": index,
            "tasks": ["Push."],
            "length": COUNT,
            **(lines or {}).get(index, {}),
        }
        for index in range(2)
    ]
    (root / "meta/episodes.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in said))
    (root / "data").mkdir()
    frames = np.arange(COUNT)
    for index in range(2):
        table = {
            camera: [{"bytes": encoded(grey(30 * i, 8, 8)), "path": None} for i in frames],
            "timestamp": (frames / 10).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(COUNT, index),
            "index": frames + COUNT * index,
            "task_index": np.zeros(COUNT, np.int64),
            **(extra if only in (None, index) else {}),
        }
        kept = {name: values for name, values in table.items() if name not in without}
        pq.write_table(pa.table(kept), root / f"data/episode_{index:06d}.parquet")
    return root
