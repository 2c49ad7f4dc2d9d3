"""One recorded episode, whatever layout it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = bytes | NDArray[np.uint8]
"""A JPEG or PNG file's bytes, or uint8 (H, W, 3) RGB; ``lrm_client`` takes either."""


class RecordingError(ValueError):
    """A data set, an episode or a frame that cannot be read or written; says what to change."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedEpisode:
    """One attempt at a task, as key frames with labels; what was not recorded is None.

    Attributes:
        id: unique within its data set.
        task: in words.
        frames: F frames, read when they are indexed; a frame that is missing or corrupt raises
            RecordingError there, not before.
        steps: int64 (F,), the environment steps of the frames, ascending; step 0 is the reset
            observation.
        length: the last environment step of the attempt, at least ``steps[-1]``.
        success: whether the attempt ends in success; where it is not given, what ``done`` says of
            the last frame.
        done: bool (F,), the task's success flag at each frame.
        progress: float64 (F,), oracle progress in [0, 1] at each frame.
        rewards: float64 (F,), the environment's own reward at each frame.
        fps: environment steps a second.
        group: the subset that it belongs to (an environment, an embodiment); may be empty.
        kind: who acted: ``expert``, a policy's name, or what went wrong; may be empty.
        seed: of the environment's reset.
        columns: name -> (F, ...), other numbers at each frame: ``action``, ``observation.state``,
            what a model said as ``score.NAME`` (float64, NaN where it gave no answer), and what
            another program recorded of each frame's action as ``next.reward`` and the like.
    """

    id: str
    task: str
    frames: Sequence[Frame]
    steps: NDArray[np.int64]
    length: int
    success: bool | None = None
    done: NDArray[np.bool_] | None = None
    progress: NDArray[np.float64] | None = None
    rewards: NDArray[np.float64] | None = None
    fps: float | None = None
    group: str = ""
    kind: str = ""
    seed: int | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.frames)
        if not count:
            raise RecordingError(f"episode {self.id!r} has no frames: leave it out")
        for name in ("steps", "done", "progress", "rewards"):
            column = getattr(self, name)
            if column is not None and column.shape != (count,):
                raise RecordingError(
                    f"episode {self.id!r}: {name} has shape {column.shape}, but there are "
                    f"{count} frames: give one entry per frame"
                )
        for name, values in self.columns.items():
            if values.shape[:1] != (count,):
                raise RecordingError(
                    f"episode {self.id!r}: column {name!r} has shape {values.shape}, but there are "
                    f"{count} frames: give one row per frame"
                )
        if self.success is None and self.done is not None:
            object.__setattr__(self, "success", bool(self.done[-1]))
        if not self.task.strip():
            raise RecordingError(f"episode {self.id!r} has no task: say in words what is attempted")
        if np.any(np.diff(self.steps) <= 0) or self.steps[0] < 0:
            raise RecordingError(f"episode {self.id!r}: steps must ascend from 0 or later")
        if self.length < self.steps[-1]:
            raise RecordingError(
                f"episode {self.id!r}: length {self.length} is before its last frame's step "
                f"{self.steps[-1]}"
            )
        if self.progress is not None and not np.all((self.progress >= 0) & (self.progress <= 1)):
            raise RecordingError(f"episode {self.id!r}: progress must lie in [0, 1]")
        if self.success is not None and self.done is not None and self.done[-1] != self.success:
            raise RecordingError(
                f"episode {self.id!r}: success is {self.success}, but its last frame's done is "
                f"{bool(self.done[-1])}"
            )
