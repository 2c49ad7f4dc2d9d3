"""An episode's labels in the metadata of a LeRobot data set, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lrm_server.recordings.episode import RecordingError


def success_of(metadata: Mapping[str, Any], name: str) -> bool | None:
    """Success as the episode's metadata have it; None where they do not say.

    Raises:
        RecordingError: it is no flag.
    """
    value = metadata.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise RecordingError(f"{name} in meta/episodes is {value!r}: write true or false")
    return bool(value)


def number_of(metadata: Mapping[str, Any], name: str) -> float | None:
    """A number as the episode's metadata have it; None where they do not say.

    Raises:
        RecordingError: it is no number.
    """
    value = metadata.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        raise RecordingError(f"{name} in meta/episodes is {value!r}: write a number")
    number: float = value
    return number


def whole_of(metadata: Mapping[str, Any], name: str) -> int | None:
    """A whole number as the episode's metadata have it; None where they do not say.

    Raises:
        RecordingError: it is no whole number.
    """
    value = number_of(metadata, name)
    if value is None:
        return None
    if value != int(value):
        raise RecordingError(f"{name} in meta/episodes is {value!r}: write a whole number")
    return int(value)


def task_of(metadata: Mapping[str, Any]) -> str:
    """The episode's task; empty where it has none or several, of which its rows know theirs.

    Raises:
        RecordingError: tasks are no list of words.
    """
    tasks = metadata.get("tasks")
    if tasks is None:
        return ""
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise RecordingError(f"tasks in meta/episodes is {tasks!r}: write a list of tasks in words")
    return tasks[0] if len(tasks) == 1 else ""
