"""The score of RoboReward (arXiv 2601.00675): mean absolute error on ratings of 1 to 5."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrm_server.evaluation.metrics.columns import Column, Floats, scalars
from lrm_server.evaluation.metrics.ratios import ratio
from lrm_server.evaluation.metrics.result import Drawn, Measurement

LOWEST: Final = 1
HIGHEST: Final = 5
UNPARSABLE: Final = float(HIGHEST - LOWEST)
"""The error of an answer that cannot be parsed: the largest there is."""

Ratings = Sequence[float | None] | Floats
"""One rating of 1 to 5 an episode; NaN or None for an answer that cannot be parsed."""

_EPSILON: Final = 1e-9


def to_rating(score: ArrayLike) -> Floats:
    """Scores in [0, 1] as the nearest rating of 1 to 5: floor(4 v + 1/2) + 1.

    A rating s stands for the score (s - 1) / 4. Decision: halves go up (0.125 is 2).

    Raises:
        ValueError: a score outside [0, 1].
    """
    given = np.asarray(score, dtype=np.float64)
    _refuse_outside("score", given, 0, 1)
    rating: Floats = np.floor(given * (HIGHEST - LOWEST) + 0.5 + _EPSILON) + LOWEST
    return rating


def mae_per_subset(
    predicted: Ratings, truth: Column, subsets: Sequence[Hashable]
) -> dict[Hashable, Measurement]:
    """Mean absolute error on the scale of 1 to 5, of each subset: mean of |p - t|.

    In [0, 4], lower is better. RoboReward's MAE of a subset of RoboRewardBench. An answer that
    cannot be parsed counts an error of 4. A constant 3 is never off by more than 2; one episode
    is enough.

    Args:
        predicted: one rating an episode, NaN or None for an answer that cannot be parsed.
        truth: one rating an episode.
        subsets: one label an episode.

    Returns:
        subset -> measurement, in the order of first appearance. To resample all of them alike,
        use ``macro_mae``.
    """
    errors, codes, names, unparsable = _errors(predicted, truth, subsets)
    return {
        name: ratio(
            f"RoboReward MAE, {name}",
            errors[codes == code],
            np.ones(int(np.sum(codes == code))),
            over="episodes",
            reason="there are no episodes",
            note=_note(unparsable[codes == code]),
        )
        for code, name in enumerate(names)
    }


def macro_mae(predicted: Ratings, truth: Column, subsets: Sequence[Hashable]) -> Measurement:
    """RoboReward's MAE: the mean over subsets of the subset's mean absolute error.

    (1/S) sum_s mean over the episodes of s of |p - t|, on the scale of 1 to 5. In [0, 4], lower
    is better. An answer that cannot be parsed counts an error of 4. Small subsets weigh as much
    as large ones; with one subset it is that subset's MAE.

    The subsets are fixed: resample with ``strata=subsets``. Otherwise a resample that lacks a
    subset is undefined.

    Args:
        predicted: one rating an episode, NaN or None for an answer that cannot be parsed.
        truth: one rating an episode.
        subsets: one label an episode.
    """
    errors, codes, names, unparsable = _errors(predicted, truth, subsets)

    def statistic(drawn: Drawn) -> float | None:
        counts = np.bincount(codes[drawn], minlength=len(names))
        if not np.all(counts):
            return None
        sums = np.bincount(codes[drawn], errors[drawn], minlength=len(names))
        return float(np.mean(sums / counts))

    return Measurement(
        "RoboReward MAE",
        statistic,
        episodes=len(errors),
        count=len(errors),
        over="episodes",
        reason="there are no episodes",
        note=_note(unparsable),
    )


def _errors(
    predicted: Ratings, truth: Column, subsets: Sequence[Hashable]
) -> tuple[Floats, Drawn, list[Hashable], NDArray[np.bool_]]:
    given = np.array([np.nan if rating is None else rating for rating in predicted], np.float64)
    ratings = scalars("truth", truth)
    if not len(given) == len(ratings) == len(subsets):
        raise ValueError(
            f"predicted has {len(given)} episodes, truth {len(ratings)} and subsets "
            f"{len(subsets)}: give one entry an episode in each"
        )
    unparsable = np.isnan(given)
    _refuse_outside("truth", ratings, LOWEST, HIGHEST)
    _refuse_outside("predicted", given[~unparsable], LOWEST, HIGHEST)
    names = list(dict.fromkeys(subsets))
    places = {name: code for code, name in enumerate(names)}
    codes = np.array([places[subset] for subset in subsets], dtype=np.intp)
    errors = np.where(unparsable, UNPARSABLE, np.abs(given - ratings))
    return errors, codes, names, unparsable


def _note(unparsable: NDArray[np.bool_]) -> str:
    missing = int(unparsable.sum())
    if not missing:
        return ""
    return f"{missing} of {len(unparsable)} answers could not be parsed: an error of 4 each"


def _refuse_outside(name: str, values: Floats, low: float, high: float) -> None:
    if not np.all((values >= low) & (values <= high)):
        raise ValueError(f"{name} must lie in [{low}, {high}]")
