"""``meta/stats.json``: what LeRobot's policies normalise their inputs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

QUANTILES: Final = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

SAMPLED_FRAMES: Final = 100
"""About so many frames of a data set are looked at for a camera's statistics."""

_SAMPLED_SIDE: Final = 150
"""About so many pixels of a frame's height and width."""


def column_stats(values: NDArray[Any]) -> dict[str, Any] | None:
    """Statistics of a column's rows, (N,) or (N, n), as lists of n; None without any number."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return None
    return {name: value.tolist() for name, value in _stats(rows).items()} | {"count": [len(rows)]}


class CameraStats:
    """Statistics of a camera's channels in [0, 1], of shape (3, 1, 1), from sampled pixels.

    Args:
        frames: how many frames the data set has.
    """

    def __init__(self, frames: int) -> None:
        self._every = max(1, frames // SAMPLED_FRAMES)
        self._seen = 0
        self._pixels: list[NDArray[np.uint8]] = []

    def due(self) -> bool:
        """Whether the frame that comes now is a sampled one; called once a frame."""
        self._seen += 1
        return (self._seen - 1) % self._every == 0

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Takes a sampled frame, uint8 (H, W, 3)."""
        stride = max(1, min(pixels.shape[:2]) // _SAMPLED_SIDE)
        self._pixels.append(pixels[::stride, ::stride].reshape(-1, 3))

    def result(self) -> dict[str, Any]:
        """The statistics; ``count`` is of frames."""
        stats = _stats(np.concatenate(self._pixels) / 255.0)
        shaped = {name: value.reshape(3, 1, 1).tolist() for name, value in stats.items()}
        return shaped | {"count": [len(self._pixels)]}


def numeric_stats(columns: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Statistics of all columns that have any."""
    found = {name: column_stats(values) for name, values in columns.items()}
    return {name: stats for name, stats in found.items() if stats is not None}


def _stats(rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }
