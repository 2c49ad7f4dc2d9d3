"""Frames to load a server with: all different, so that no cache answers in the model's place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 128

Frames = npt.NDArray[np.uint8]
"""uint8 (N, SIDE, SIDE, 3), RGB."""


def frames(environments: int, seed: int) -> Frames:
    """One frame for each environment: smooth shapes that differ in every pixel block."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (environments, 8, 8, 3), dtype=np.uint8)
    blown_up = coarse.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    noise = rng.integers(0, 16, blown_up.shape, dtype=np.uint8)
    return blown_up // 16 * 15 + noise
