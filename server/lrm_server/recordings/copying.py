"""Some episodes of a data set as a data set of their own, in the same layout."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.data_set import DataSet
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import LAYOUT, write_folders
from lrm_server.recordings.lerobot.copying import copy_lerobot
from lrm_server.recordings.scores import PREFIX, Scores


def copy_episodes(
    data_set: DataSet, ids: Collection[str], to: Path, scores: Scores | None = None
) -> None:
    """Copies episodes with all that is recorded of them, and with what a model said about them.

    Frames keep their bytes, videos are copied as they are. Of a data set in LeRobot's layout all
    cameras and columns are kept; the copy is v3.0. A data set that was thinned is copied whole.

    Args:
        data_set: to copy from.
        ids: of the episodes.
        to: a folder that is empty or not there yet.
        scores: one per frame of the data set as it is, thinned or not; frames that it does not have
            get NaN.

    Raises:
        RecordingError: an id that is not there, no id, scores that are not one per frame, a file
            that cannot be read, or ``to`` holds something.
        OSError: it cannot be written.
    """
    known = {episode.id: episode for episode in data_set}
    wanted = set(ids)
    if missing := sorted(wanted - set(known)):
        raise RecordingError(f"{data_set.root} has no episode {missing[0]!r}")
    if not wanted:
        raise RecordingError("there is no episode to copy")
    kept = [episode for episode in data_set.whole if episode.id in wanted]
    placed = {
        whole.id: {
            name: _placed(known[whole.id], whole, name, values)
            for name, values in (scores or {}).get(whole.id, {}).items()
        }
        for whole in kept
    }
    if data_set.layout == LAYOUT:
        write_folders(kept, to, placed)
        return
    additions = {
        name: {f"{PREFIX}{score}": values for score, values in columns.items()}
        for name, columns in placed.items()
    }
    copy_lerobot(data_set.root, [episode.id for episode in kept], to, additions)


def _placed(
    seen: RecordedEpisode, whole: RecordedEpisode, name: str, values: object
) -> NDArray[np.float64]:
    """Scores of the frames that were seen, at these frames' places among all."""
    given = np.asarray(values, np.float64)
    if given.shape != seen.steps.shape:
        raise RecordingError(
            f"episode {seen.id!r}: {len(given)} scores {name!r} for {len(seen.steps)} frames: give "
            "one per frame, None where there is none"
        )
    placed = np.full(len(whole.steps), np.nan)
    placed[np.searchsorted(whole.steps, seen.steps)] = given
    return placed
