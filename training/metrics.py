"""The three figures of the embedded checkpoint, and what they would be without looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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
