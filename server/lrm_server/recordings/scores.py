"""What a model said about episodes, as columns beside their frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordedEpisode

Scores: TypeAlias = Mapping[str, Mapping[str, Sequence[float | None] | NDArray[np.float64]]]
"""Episode's id -> score's name -> one value per frame, None or NaN where there is no
answer."""

PREFIX = "score."


def with_scores(episode: RecordedEpisode, scores: Scores | None) -> RecordedEpisode:
    """The episode with its scores as columns ``score.NAME``: float64 (F,), NaN for None."""
    mine = (scores or {}).get(episode.id, {})
    columns = {f"{PREFIX}{name}": np.asarray(values, np.float64) for name, values in mine.items()}
    return replace(episode, columns={**episode.columns, **columns})
