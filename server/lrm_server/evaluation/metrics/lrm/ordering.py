"""How well the contrastive head orders the frames of an episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrm_server.evaluation.metrics.columns import Column, Floats
from lrm_server.evaluation.metrics.correlation import (
    kendall_tau_b,
    mean_over_episodes,
)
from lrm_server.evaluation.metrics.correlation import spearman as spearman_rho
from lrm_server.evaluation.metrics.result import Measurement


def kendall_tau(predicted: Column, truth: Column) -> Measurement:
    """Kendall's tau between the model's order of the frames and the true one, over episodes.

    Mean over episodes of tau_b = (C - D) / sqrt((P - Tx)(P - Ty)) with C and D the concordant
    and discordant pairs of frames, P all pairs, Tx and Ty the pairs tied by the model and in
    truth. In [-1, 1], higher is better. LRM's Kendall tau of the contrastive head.

    Decisions: taken within each episode and averaged, as an order across episodes is not asked
    of the model; tau_b, because contrastive answers tie. A tied pair is neither right nor wrong.
    An episode of one frame, or one that the model ties as a whole, has no tau: it is left out
    and counted, so a model that answers only some episodes must be read with ``left_out``.

    Args:
        predicted: a score a frame, higher for later; ``order_scores`` makes it of comparisons.
        truth: true progress, or the step, of each frame.
    """
    return mean_over_episodes("Kendall tau", kendall_tau_b, predicted, truth)


def spearman(predicted: Column, truth: Column) -> Measurement:
    """Spearman's rho between the model's order of the frames and the true one, over episodes.

    Mean over episodes of the Pearson correlation of ranks, ties at their mean rank. In [-1, 1],
    higher is better. LRM's Spearman of the contrastive head.

    Decisions and what is undefined: as for ``kendall_tau``.

    Args:
        predicted: a score a frame, higher for later.
        truth: true progress, or the step, of each frame.
    """
    return mean_over_episodes("Spearman", spearman_rho, predicted, truth)


def order_scores(frames: int, previous: ArrayLike, current: ArrayLike, values: ArrayLike) -> Floats:
    """A score a frame from comparisons of two, for an order: what it won less what it lost.

    score(f) = mean of v over comparisons with f as current and of -v with f as previous. In
    [-1, 1]. Decision: the mean and not the sum, so that frames which were compared less often
    are not pulled to the middle.

    Args:
        frames: how many the episode has.
        previous: (n,) frame index of each comparison.
        current: (n,) frame index.
        values: (n,) contrastive values in [-1, 1], positive for current closer to the goal.

    Raises:
        ValueError: rows of different lengths, or a frame that was never compared.
    """
    before, after = (np.asarray(row, dtype=np.intp) for row in (previous, current))
    given: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if not before.shape == after.shape == given.shape or given.ndim != 1:
        raise ValueError("previous, current and values must be rows of one length")
    won = np.bincount(after, given, frames) - np.bincount(before, given, frames)
    compared = np.bincount(after, minlength=frames) + np.bincount(before, minlength=frames)
    if not np.all(compared):
        missing = np.flatnonzero(compared == 0).tolist()
        raise ValueError(f"frames {missing} were never compared: leave them out of the order")
    scores: Floats = won / compared
    return scores
