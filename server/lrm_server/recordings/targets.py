"""Where data sets are written."""

from __future__ import annotations

import re
from collections.abc import Iterable
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


def inside(root: Path, name: str) -> Path:
    """A file to be written in a data set, by a name with parts that others chose.

    Raises:
        RecordingError: it would lie elsewhere.
    """
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise RecordingError(f"{name} leads out of {root}: rename what is in it")
    return path


def as_folder_name(episode: str) -> str:
    """An episode's id as the name of a folder: what is no letter, digit, ``-_.`` becomes ``_``."""
    name = re.sub(r"[^\w.-]", "_", episode).lstrip(".")
    if not name:
        raise RecordingError(f"episode id {episode!r} has no letter or digit to name a folder with")
    return name


def check_folder_names(episodes: Iterable[str]) -> None:
    """Checks that each of some episodes has a folder's name to itself.

    Raises:
        RecordingError: an id that names no folder, or two that name the same one.
    """
    taken: dict[str, str] = {}
    for episode in episodes:
        name = as_folder_name(episode)
        if name in taken:
            raise RecordingError(
                f"episodes {taken[name]!r} and {episode!r} would both lie in the folder {name}: "
                "rename one"
            )
        taken[name] = episode
