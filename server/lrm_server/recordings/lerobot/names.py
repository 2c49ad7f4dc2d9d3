"""Names of columns that have a meaning."""

from __future__ import annotations

from typing import Final

STEP: Final = "lrm.step"
SUCCESS: Final = "lrm.success"
REWARD: Final = "lrm.reward"
PROGRESS: Final = "progress"
NEXT_SUCCESS: Final = "next.success"
NEXT_REWARD: Final = "next.reward"
NEXT_DONE: Final = "next.done"

UNKNOWN: Final = -1
"""In ``lrm.success``, of an episode whose success is not recorded."""

ROW_INDICES: Final = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns that every data set has."""

LABELS: Final = frozenset(
    (STEP, SUCCESS, REWARD, PROGRESS, NEXT_SUCCESS, NEXT_REWARD, NEXT_DONE, *ROW_INDICES)
)
"""Columns that become the fields of RecordedEpisode; all others are its ``columns``."""

OWN: Final = "lrm/"
"""Prefix of the columns that this project adds to the episodes' metadata."""
