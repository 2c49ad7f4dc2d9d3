"""What tests/recordings/lerobot_v30 holds: frames whose grey tells which they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FPS = 10


@dataclass(frozen=True)
class Levels:
    """An episode of the data set."""

    task: str
    length: int
    success: bool


EPISODES = (
    Levels("Push the block.", 6, True),
    Levels("Push the block.", 4, False),
    Levels("Open the drawer.", 1, True),
)


def level(camera: str, episode: int, index: int) -> int:
    return 20 + 60 * episode + 8 * index + (10 if camera == "wrist" else 0)


def shade(grey: int) -> NDArray[np.uint8]:
    return np.full((64, 64, 3), grey, np.uint8)
