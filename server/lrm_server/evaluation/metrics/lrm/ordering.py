"""How well the contrastive head orders the frames of an episode."""

from __future__ import annotations

from lrm_server.evaluation.metrics.columns import Column
from lrm_server.evaluation.metrics.correlation import kendall_tau_b, mean_over_episodes
from lrm_server.evaluation.metrics.correlation import spearman as spearman_rho
from lrm_server.evaluation.metrics.result import Measurement


def kendall_tau(predicted: Column, truth: Column) -> Measurement:
    """Kendall's tau between the model's order of the frames and the true one, over episodes.

    Mean over episodes of tau_b = (C - D) / sqrt((P - Tx)(P - Ty)) with C and D the concordant
    and discordant pairs of frames, P all pairs, Tx and Ty the pairs tied by the model and in
    truth. In [-1, 1], higher is better. LRM's Kendall tau of the contrastive head.

    Decisions: taken within each episode and averaged, as an order across episodes is not asked
    of the model; tau_b, because running sums tie. A tied pair is neither right nor wrong.
    An episode of one frame, or one that the model ties as a whole, has no tau: it is left out
    and counted, so a model that answers only some episodes must be read with ``left_out``.

    The frames' scores are the caller's: for the contrastive head the running sum of its answers
    about consecutive frames, after a 0 for the first. An answer has a sign and no size, so where
    true progress also falls, sums of right answers alone may order frames that were never compared
    wrongly: 1 is not always open, and what right answers reach must stand beside it.

    Args:
        predicted: a score a frame, higher for more progress.
        truth: true progress of each frame.
    """
    return mean_over_episodes("Kendall tau", kendall_tau_b, predicted, truth)


def spearman(predicted: Column, truth: Column) -> Measurement:
    """Spearman's rho between the model's order of the frames and the true one, over episodes.

    Mean over episodes of the Pearson correlation of ranks, ties at their mean rank. In [-1, 1],
    higher is better. LRM's Spearman of the contrastive head.

    Decisions and what is undefined: as for ``kendall_tau``.

    Args:
        predicted: a score a frame, higher for more progress.
        truth: true progress of each frame.
    """
    return mean_over_episodes("Spearman", spearman_rho, predicted, truth)
