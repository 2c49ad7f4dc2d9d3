"""Subtasks of a task, for heads that measure progress over them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subtask:
    """One step of a task.

    Attributes:
        subtask: what the robot is to do, in words; one line.
        done_when: what an image shows when it is done; one line.
    """

    subtask: str
    done_when: str
