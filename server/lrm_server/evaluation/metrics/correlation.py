"""Correlation of two rows of numbers, and its mean over episodes.

All coefficients lie in [-1, 1], higher is better, and 0 is no association. Each is None where it
is undefined: fewer than two pairs, or (except tau_a) a row that is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lrm_server.evaluation.metrics.columns import Column, Floats, checked
from lrm_server.evaluation.metrics.ratios import ratio
from lrm_server.evaluation.metrics.result import Measurement

Coefficient = Callable[[Floats, Floats], float | None]


def pearson(x: ArrayLike, y: ArrayLike) -> float | None:
    """Linear correlation: cov(x, y) / (sd(x) sd(y)).

    Two pairs give -1 or 1. None for fewer than two pairs or a constant row.
    """
    return _defined(lambda a, b: stats.pearsonr(a, b).statistic, x, y)


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Rank correlation: Pearson of the ranks, ties at their mean rank.

    None for fewer than two pairs or a constant row.
    """
    return _defined(lambda a, b: stats.spearmanr(a, b).statistic, x, y)


def kendall_tau_b(x: ArrayLike, y: ArrayLike) -> float | None:
    """Kendall's tau with ties taken out of the denominator.

    (C - D) / sqrt((P - Tx)(P - Ty)): C and D concordant and discordant pairs, P = n(n-1)/2 all
    pairs, Tx and Ty those tied in x and in y. Without ties it is tau_a. None for fewer than two
    pairs or a constant row.
    """
    return _defined(lambda a, b: stats.kendalltau(a, b, variant="b").statistic, x, y)


def kendall_tau_a(x: ArrayLike, y: ArrayLike) -> float | None:
    """Kendall's tau over all pairs: (C - D) / (n(n-1)/2).

    A tied pair, in x or in y, is neither concordant nor discordant but counts below, so a model
    that ties everything scores 0, and 1 needs strict order in both. None for fewer than two
    pairs. Memory grows with the square of n: it is for rankings, not for long rows.
    """
    a, b = _rows(x, y)
    if len(a) < 2:
        return None
    above = np.triu_indices(len(a), k=1)
    agreement = np.sign(a[above[0]] - a[above[1]]) * np.sign(b[above[0]] - b[above[1]])
    return float(agreement.mean())


def mean_over_episodes(
    name: str, coefficient: Coefficient, predicted: Column, truth: Column
) -> Measurement:
    """Mean over episodes of a coefficient within the episode.

    Episodes in which it is undefined are left out and counted in ``left_out``.

    Args:
        name: of the metric.
        coefficient: of two rows; None where it is undefined.
        predicted: a row an episode.
        truth: a row an episode.

    Raises:
        ValueError: columns that do not fit each other, or numbers that are not finite.
    """
    columns = checked(predicted=predicted, truth=truth)
    within = [coefficient(a, b) for a, b in zip(*columns, strict=True)]
    return mean_of(name, within, over="episodes", undefined=UNDEFINED)


UNDEFINED = "fewer than two frames, or the model or the truth is constant"
"""Why a coefficient is undefined within an episode."""


def mean_of(name: str, values: Sequence[float | None], *, over: str, undefined: str) -> Measurement:
    """Mean of one value an episode, of those that are defined; the others are counted.

    Args:
        name: of the metric.
        values: one an episode, None where undefined.
        over: the units, which are episodes or stand for them.
        undefined: why a value may be undefined.
    """
    missing = sum(value is None for value in values)
    return ratio(
        name,
        [0.0 if value is None else value for value in values],
        [value is not None for value in values],
        over=over,
        reason=f"undefined in every episode: {undefined}",
        left_out=missing,
        note=f"undefined in {missing} of {len(values)} {over}: {undefined}" if missing else "",
    )


def _rows(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"rows of shapes {a.shape} and {b.shape}: give two of one length")
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        raise ValueError("a number is not finite: leave failed queries out, they have no value")
    return a, b


def _defined(
    coefficient: Callable[[Floats, Floats], float], x: ArrayLike, y: ArrayLike
) -> float | None:
    a, b = _rows(x, y)
    if len(a) < 2 or _constant(a) or _constant(b):
        return None
    return float(coefficient(a, b))


def _constant(row: Floats) -> bool:
    # Sums of equal numbers differ in their last digits; correlating those is noise.
    return bool(np.ptp(row) <= 1e-12 * np.abs(row).max())
