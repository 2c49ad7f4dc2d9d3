"""The scores of Robometer (arXiv 2603.02115): order in time, ranking of policies, success."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from sklearn.metrics import average_precision_score

from lrm_server.evaluation.metrics.binary import two_classes
from lrm_server.evaluation.metrics.columns import Column, Floats, scalars
from lrm_server.evaluation.metrics.correlation import (
    kendall_tau_a,
    mean_over_episodes,
    pearson,
    spearman,
)
from lrm_server.evaluation.metrics.result import Drawn, Measurement

_DECIMALS: Final = 12
"""Means of equal rewards differ after these by rounding alone."""


def voc_pearson(predicted: Column, time: Column) -> Measurement:
    """Value-order correlation: mean over trajectories of Pearson(progress, time).

    In [-1, 1], higher is better on successful trajectories. Robometer's VOC as Pearson, which
    asks for progress that is linear in time.

    Decision: trajectories in which it is undefined (one frame, or constant progress) are left
    out and counted in ``left_out``, not taken as 0; a model that is constant on most is to be
    read with that count. Which trajectories are given, successes alone or all, is the caller's.

    Args:
        predicted: progress a frame.
        time: step, seconds or index of each frame.
    """
    return mean_over_episodes("VOC (Pearson)", pearson, predicted, time)


def voc_spearman(predicted: Column, time: Column) -> Measurement:
    """Value-order correlation: mean over trajectories of Spearman(progress, time).

    In [-1, 1], higher is better on successful trajectories. Robometer's VOC as Spearman, which
    is GVL's: it asks for the order alone. Ties have their mean rank, so progress in stages
    cannot reach 1 on more frames than stages. What is undefined: as for ``voc_pearson``.

    Args:
        predicted: progress a frame.
        time: step, seconds or index of each frame.
    """
    return mean_over_episodes("VOC (Spearman)", spearman, predicted, time)


def policy_ranking(
    rewards: Column,
    ranks: Column,
    tasks: Sequence[Hashable],
    policies: Sequence[Hashable] | None = None,
) -> Measurement:
    """Kendall's tau_a of policies by mean model reward against their rank, mean over tasks.

    For each task, tau_a = (C - D) / (n(n-1)/2) over its n policies or quality groups, each by
    the mean reward of its episodes; then the mean over tasks. In [-1, 1], higher is better.
    Robometer's policy ranking.

    A tie, of mean rewards or of ranks, is neither right nor wrong but counts below: a constant
    model scores 0, and tasks with policies of equal rank cannot reach 1. A task with one policy
    has no ranking and is left out and counted; undefined when no task has two.

    Decision: what a trajectory's reward is (its last value, sum or mean) is the caller's. The
    groups are fixed: resample with strata of (task, policy), else a resample ranks those that
    it drew.

    Args:
        rewards: the model's reward of each episode.
        ranks: true rank of the episode's policy or quality, higher is better.
        tasks: one label an episode.
        policies: one label an episode; the rank itself unless given.

    Raises:
        ValueError: columns of different lengths, or a policy with two ranks in one task.
    """
    given, true = scalars("rewards", rewards), scalars("ranks", ranks)
    names = list(true.tolist()) if policies is None else list(policies)
    if not len(given) == len(true) == len(tasks) == len(names):
        raise ValueError(
            f"{len(given)} rewards, {len(true)} ranks, {len(tasks)} tasks and {len(names)} "
            "policies: give one each an episode"
        )
    groups = list(dict.fromkeys(zip(tasks, names, strict=True)))
    places = {group: code for code, group in enumerate(groups)}
    codes = np.array([places[group] for group in zip(tasks, names, strict=True)], dtype=np.intp)
    group_ranks = _group_ranks(groups, codes, true)
    of_task = [
        np.array([places[group] for group in groups if group[0] == task], dtype=np.intp)
        for task in dict.fromkeys(tasks)
    ]

    def statistic(drawn: Drawn) -> float | None:
        counts = np.bincount(codes[drawn], minlength=len(groups))
        sums = np.bincount(codes[drawn], given[drawn], minlength=len(groups))
        means = np.round(sums / np.maximum(counts, 1), _DECIMALS)
        present = (members[counts[members] > 0] for members in of_task)
        taus = [kendall_tau_a(means[members], group_ranks[members]) for members in present]
        defined = [tau for tau in taus if tau is not None]
        return float(np.mean(defined)) if defined else None

    single = sum(len(members) < 2 for members in of_task)
    return Measurement(
        "policy ranking (Kendall tau_a)",
        statistic,
        episodes=len(given),
        count=len(of_task) - single,
        over="tasks",
        left_out=single,
        reason="no task has two policies to rank",
        note=f"{single} of {len(of_task)} tasks left out: one policy" if single else "",
    )


def success_auprc(scores: Column, success: Column) -> Measurement:
    """Area under the precision-recall curve of success, as average precision.

    AP = sum_n (R_n - R_(n-1)) P_n over the thresholds in descending order of score. In (0, 1],
    higher is better; a constant score has the share of successes, which is chance. Robometer's
    success AUPRC.

    Equal scores share a threshold. Undefined when all are successes or all failures (decision:
    without failures AP is 1 whatever the model says). The share of successes matters: figures
    of data sets with other shares do not compare.

    Args:
        scores: success probability an episode, or a frame.
        success: bool, of the same shape.
    """
    return two_classes(
        "success AUPRC", scores, success, lambda s, y: float(average_precision_score(y, s))
    )


def _group_ranks(
    groups: Sequence[tuple[Hashable, Hashable]], codes: Drawn, ranks: Floats
) -> Floats:
    found = np.empty(len(groups))
    for code, (task, policy) in enumerate(groups):
        here = np.unique(ranks[codes == code])
        if len(here) > 1:
            raise ValueError(
                f"policy {policy!r} has ranks {here.tolist()} in task {task!r}: give it one"
            )
        found[code] = here[0]
    return found
