"""Frames to load a server with: all different, so that no cache answers in the model's place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 128

Frames = npt.NDArray[np.uint8]
"""uint8 (N, side, side, 3), RGB."""


def frames(environments: int, seed: int, side: int = SIDE) -> Frames:
    """One frame for each environment: smooth shapes that differ in every pixel block.

    Args:
        environments: N.
        seed: frames of different seeds differ.
        side: height and width in pixels, a multiple of 8.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (environments, 8, 8, 3), dtype=np.uint8)
    blown_up = coarse.repeat(side // 8, axis=1).repeat(side // 8, axis=2)
    noise = rng.integers(0, 16, blown_up.shape, dtype=np.uint8)
    return blown_up // 16 * 15 + noise
