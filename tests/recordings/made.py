"""Episodes made up for the tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrm_server.recordings.episode import Frame, RecordedEpisode


def noise(seed: int, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(level: int, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def episode(
    name: str = "one", count: int = 4, frames: list[Frame] | None = None, **fields: Any
) -> RecordedEpisode:
    """An episode that says everything, unless told otherwise."""
    count = len(frames) if frames is not None else count
    done = np.arange(count) == count - 1
    defaults: dict[str, Any] = {
        "task": "Push the block.",
        "frames": frames if frames is not None else [grey(20 + 30 * i) for i in range(count)],
        "steps": np.arange(count, dtype=np.int64) * 5,
        "length": (count - 1) * 5,
        "success": True,
        "done": done,
        "progress": np.linspace(0, 1, count),
        "rewards": np.linspace(-1, 1, count),
        "fps": 20.0,
        "group": "Push-v1",
        "kind": "expert",
        "seed": 7,
    }
    return RecordedEpisode(id=name, **{**defaults, **fields})


def unlabelled(name: str = "bare", count: int = 3) -> RecordedEpisode:
    return RecordedEpisode(
        id=name,
        task="Open the drawer.",
        frames=[grey(40 * i) for i in range(count)],
        steps=np.arange(count, dtype=np.int64),
        length=count - 1,
    )


def assert_same_labels(found: RecordedEpisode, wanted: RecordedEpisode) -> None:
    for name in ("id", "task", "length", "success", "fps", "group", "kind", "seed"):
        assert getattr(found, name) == getattr(wanted, name), name
    for name in ("steps", "done", "progress", "rewards"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert set(found.columns) == set(wanted.columns)
    for name, values in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name], values, err_msg=name)
