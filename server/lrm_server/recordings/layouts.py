"""The layouts that data sets are written in."""

from __future__ import annotations

from enum import Enum


class Layout(str, Enum):
    """How a data set is written."""

    FOLDERS = "folders"
    LEROBOT = "lerobot"
    LEROBOT_IMAGES = "lerobot-images"
