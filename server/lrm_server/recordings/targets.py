"""Where data sets are written."""

from __future__ import annotations

import re
from pathlib import Path

from lrm_server.recordings.episode import RecordingError


def new_folder(path: Path) -> None:
    """Makes the folder of a new data set; one that is there must be empty.

    Raises:
        RecordingError: it holds something, or is a file.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RecordingError(f"{path} exists: name a new folder, or remove it first")
    path.mkdir(parents=True, exist_ok=True)


def as_folder_name(episode: str) -> str:
    """An episode's id as the name of a folder: what is no letter, digit, ``-_.`` becomes ``_``."""
    name = re.sub(r"[^\w.-]", "_", episode).lstrip(".")
    if not name:
        raise RecordingError(f"episode id {episode!r} has no letter or digit to name a folder with")
    return name
