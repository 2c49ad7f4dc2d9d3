"""A bundled rollout that ends in success, as decoded frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tests.rollout_frames import episodes, frame


@dataclass(frozen=True)
class Film:
    """A task and its frames, uint8 (height, width, 3) each."""

    task: str
    frames: tuple[np.ndarray, ...]


@lru_cache
def success() -> Film:
    """Of a robot that pushes a cube to its place."""
    rollout = next(each for each in episodes() if each.env_id == "PushCube-v1" and each.success)
    frames = tuple(frame(rollout, at).pixels() for at in range(len(rollout.frames)))
    return Film(rollout.task, frames)
