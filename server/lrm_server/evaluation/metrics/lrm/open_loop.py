"""What a head's rewards over whole episodes are worth, before a policy is trained on them."""

from __future__ import annotations

import numpy as np

from lrm_server.evaluation.metrics.binary import two_classes
from lrm_server.evaluation.metrics.columns import Column, Floats, checked
from lrm_server.evaluation.metrics.correlation import mean_over_episodes, pearson
from lrm_server.evaluation.metrics.result import Drawn, Measurement


def roc_auc(scores: Column, success: Column) -> Measurement:
    """Area under the ROC curve: P(score of a success > of a failure) + P(equal) / 2.

    In [0, 1], higher is better, 0.5 is chance and a constant score. LRM's open-loop ROC-AUC.

    A tied pair counts one half. Undefined when all are successes or all failures; one of each
    gives 0, 0.5 or 1. Decision: what is scored and labelled is the caller's, an episode by the
    sum of its rewards, or every frame by its completion; resampling is by episode either way.

    Args:
        scores: one number an episode, or one a frame.
        success: bool, of the same shape.
    """
    return two_classes("ROC-AUC", scores, success, _share_above_or_half)


def pairwise_accuracy(scores: Column, success: Column) -> Measurement:
    """Share of (success, failure) pairs in which the success scores higher: P(s+ > s-).

    In [0, 1], higher is better. LRM's pairwise accuracy: a tie counts as wrong, so it is the
    ROC-AUC less half the share of ties, and a constant score gets 0, not 0.5.

    Undefined when all are successes or all failures. Decision: over all pairs, across tasks too.

    Args:
        scores: one number an episode, or one a frame.
        success: bool, of the same shape.
    """
    return two_classes("pairwise accuracy", scores, success, _share_above, over="pairs")


def global_pearson(model_rewards: Column, oracle_rewards: Column) -> Measurement:
    """Pearson over episodes between the sum of the model's rewards and the oracle's total.

    r(sum_t m(e, t), sum_t o(e, t)) over episodes e. In [-1, 1], higher is better. LRM's global
    Pearson. Sums grow with length, so episodes of unequal length correlate by length alone:
    compare episodes of one length, or give means.

    Undefined with fewer than two episodes, or when either total is the same in all. Two
    episodes give -1 or 1.

    Args:
        model_rewards: the model's reward a step or frame, or its sum.
        oracle_rewards: the oracle's, or its total; lengths need not agree with the model's.
    """
    (model,), (oracle,) = (
        checked(model_rewards=model_rewards),
        checked(oracle_rewards=oracle_rewards),
    )
    if len(model) != len(oracle):
        raise ValueError(
            f"model_rewards has {len(model)} episodes and oracle_rewards {len(oracle)}: "
            "give one entry an episode in both"
        )
    sums = np.array([row.sum() for row in model])
    totals = np.array([row.sum() for row in oracle])

    def statistic(drawn: Drawn) -> float | None:
        return pearson(sums[drawn], totals[drawn])

    return Measurement(
        "global Pearson",
        statistic,
        episodes=len(sums),
        count=len(sums),
        over="episodes",
        reason="fewer than two episodes, or the model's or the oracle's totals are all equal",
    )


def trajectory_pearson(model_rewards: Column, oracle_rewards: Column) -> Measurement:
    """Mean over episodes of the Pearson correlation over time of model and oracle rewards.

    mean_e r(m(e, .), o(e, .)). In [-1, 1], higher is better. LRM's per-trajectory Pearson.

    Decision: episodes in which it is undefined (one frame, or the model or the oracle constant
    over the episode) are left out and counted in ``left_out``; a score of 0 would be made up.
    Two frames give -1 or 1.

    Args:
        model_rewards: the model's reward a step or frame.
        oracle_rewards: the oracle's at the same steps.
    """
    return mean_over_episodes("per-trajectory Pearson", pearson, model_rewards, oracle_rewards)


def _share_above(scores: Floats, positive: Floats) -> float:
    won, lost = scores[positive == 1], np.sort(scores[positive == 0])
    return float(np.searchsorted(lost, won, side="left").mean() / len(lost))


def _share_above_or_half(scores: Floats, positive: Floats) -> float:
    # scikit-learn's roc_auc_score is the same number, but its checks would make up
    # nearly all of the time of a thousand resamples.
    won, lost = scores[positive == 1], np.sort(scores[positive == 0])
    below = np.searchsorted(lost, won, side="left") + np.searchsorted(lost, won, side="right")
    return float(below.mean() / 2 / len(lost))
