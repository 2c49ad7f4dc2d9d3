"""The columns ``next.``: what followed the action taken at a row's frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.lerobot.names import NEXT_DONE, NEXT_REWARD, NEXT_SUCCESS, OUTCOMES


def outcomes_of(
    count: int,
    success: bool | None,
    done: NDArray[np.bool_] | None,
    rewards: NDArray[np.float64] | None,
) -> dict[str, NDArray[Any]]:
    """An episode's outcomes as they follow from its labels, those of unknown labels left out.

    Args:
        count: its frames.
        success: as RecordedEpisode has it.
        done: likewise.
        rewards: likewise.
    """
    # The action at the last frame but one ends the attempt, and none follows the last.
    ends = np.arange(count) >= count - 2
    outcomes: dict[str, NDArray[Any]] = {NEXT_DONE: ends}
    if done is not None:
        outcomes[NEXT_SUCCESS] = np.append(done[1:], done[-1])
    elif success is not None:
        # Where only the end is known, only there.
        outcomes[NEXT_SUCCESS] = ends & success
    if rewards is not None:
        outcomes[NEXT_REWARD] = np.append(rewards[1:], 0.0).astype(np.float32)
    return outcomes


def recorded_outcomes(
    rows: Mapping[str, NDArray[Any]], derived: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The outcomes in a data set's rows that say something else than its labels do.

    Others than this project label the row of the action, not the frame that it led to: what they
    recorded must be written again as it was, and not be taken from labels read off it.
    """
    return {
        name: rows[name]
        for name in OUTCOMES
        if name in rows and not (name in derived and np.array_equal(rows[name], derived[name]))
    }
