"""The figures of the embedded checkpoint, and what they would be without looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def mean_absolute_error(said: ArrayLike, true: ArrayLike) -> float:
    """Mean distance between said and true progress."""
    return float(np.abs(np.asarray(said) - np.asarray(true)).mean())


def accuracy(correct: ArrayLike) -> float:
    """Share of what is correct."""
    return float(np.asarray(correct, dtype=float).mean())


def auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve.

    How often a positive scores above a negative, ties counting half.
    """
    score, flag = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    if flag.all() or not flag.any():
        return float("nan")
    yes, no = score[flag], score[~flag]
    return float((yes[:, None] > no[None, :]).mean() + 0.5 * (yes[:, None] == no[None, :]).mean())


def random_progress_error(true: ArrayLike, stages: int) -> float:
    """Expected error of one of `stages` evenly spaced values drawn at random."""
    values = np.linspace(0.0, 1.0, stages)
    return float(np.abs(values[:, None] - np.asarray(true)[None, :]).mean())


def value_order(episodes: Sequence[tuple[ArrayLike, ArrayLike]]) -> dict[str, float]:
    """Correlation of said progress with time, mean over episodes of (steps, said progress).

    Robometer's VOC (arXiv 2603.02115), as Pearson and as Spearman. An episode in which it is
    undefined, of one frame or of constant progress, counts as 0: a success was not followed.
    """
    pearson, spearman = [], []
    for steps, said in episodes:
        defined = np.ptp(np.asarray(said)) > 0 and np.ptp(np.asarray(steps)) > 0
        pearson.append(float(stats.pearsonr(steps, said)[0]) if defined else 0.0)
        spearman.append(float(stats.spearmanr(steps, said)[0]) if defined else 0.0)
    return {
        "pearson": float(np.mean(pearson)),
        "spearman": float(np.mean(spearman)),
        "count": len(pearson),
    }
