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

OUTCOMES: Final = (NEXT_SUCCESS, NEXT_REWARD, NEXT_DONE)
"""What followed the action taken at a row's frame."""

TIMESTAMP: Final = "timestamp"
FRAME_INDEX: Final = "frame_index"
EPISODE_INDEX: Final = "episode_index"
INDEX: Final = "index"
TASK_INDEX: Final = "task_index"

ROW_INDICES: Final = (TIMESTAMP, FRAME_INDEX, EPISODE_INDEX, INDEX, TASK_INDEX)
"""Columns that LeRobot writes of every data set."""

LABELS: Final = frozenset((STEP, SUCCESS, REWARD, PROGRESS, *OUTCOMES, *ROW_INDICES))
"""Columns that become the fields of RecordedEpisode; all others are its ``columns``.

Two kinds are among its ``columns`` too: outcomes that do not follow from its labels, and
``progress`` that is none of this project's.
"""

OWN: Final = "lrm/"
"""Prefix of the columns that this project adds to the episodes' metadata."""
