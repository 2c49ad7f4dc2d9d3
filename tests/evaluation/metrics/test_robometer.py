"""Robometer's scores, against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lrm_server.evaluation.metrics import robometer
from lrm_server.evaluation.metrics.bootstrap import with_interval

TASKS = ["push", "push", "push", "push", "push", "pick", "pick", "open"]
RANKS = [0, 0, 1, 2, 2, 0, 1, 0]
# push: means 0.2, 0.5, 0.4: two pairs right, one wrong; pick: tied; open: one policy.
REWARDS = [0.1, 0.3, 0.5, 0.3, 0.5, 0.3, 0.3, 0.9]


def test_voc_as_pearson_and_as_spearman_differ_on_a_bend():
    predicted, time = [[0, 0, 3], [0, 1, 2]], [[0, 1, 2], [2, 1, 0]]
    # Deviations (-1, -1, 2) and (-1, 0, 1): 3 / sqrt(6 * 2); the second is -1.
    assert robometer.voc_pearson(predicted, time).value == pytest.approx((3 / 12**0.5 - 1) / 2)
    predicted = [[0, 1, 100], [0, 1, 2]]
    # The order is right: 1, though far from linear.
    assert robometer.voc_spearman(predicted, time).value == pytest.approx((1 - 1) / 2)
    assert robometer.voc_pearson(predicted, time).value < -0.05


@pytest.mark.parametrize("voc", [robometer.voc_pearson, robometer.voc_spearman])
def test_flat_trajectories_are_left_out_and_counted(voc):
    metric = voc([[0.4, 0.4], [0, 1]], [[0, 1], [0, 1]]).metric
    assert (metric.value, metric.count, metric.left_out) == (pytest.approx(1), 1, 1)


def test_policy_ranking_is_the_mean_of_the_tasks():
    metric = robometer.policy_ranking(REWARDS, RANKS, TASKS).metric
    # ((2 - 1) / 3 + 0) / 2
    assert metric.value == pytest.approx(1 / 6)
    assert (metric.count, metric.over, metric.left_out) == (2, "tasks", 1)


def test_a_constant_model_ranks_nothing_despite_rounding():
    rewards = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    metric = robometer.policy_ranking(rewards, [0, 0, 0, 1, 1, 2], ["push"] * 6).metric
    assert metric.value == 0


def test_policies_of_equal_rank_count_below():
    # Policies a and b tie in rank, c is above both: two of three pairs are right.
    metric = robometer.policy_ranking([0.1, 0.2, 0.3], [0, 0, 1], ["push"] * 3, ["a", "b", "c"])
    assert metric.value == pytest.approx(2 / 3)


def test_a_policy_has_one_rank_in_a_task():
    with pytest.raises(ValueError, match=r"policy 'a' has ranks \[0.0, 1.0\] in task 'push'"):
        robometer.policy_ranking([0.1, 0.2], [0, 1], ["push"] * 2, ["a", "a"])


def test_policy_ranking_over_a_resample_ranks_those_drawn():
    measured = robometer.policy_ranking(REWARDS, RANKS, TASKS)
    # Episodes 1 and 2: means 0.3 and 0.5; pick has one policy left.
    assert measured.statistic(np.array([1, 2, 5])) == 1
    assert measured.statistic(np.array([0, 1, 7])) is None


def test_policy_ranking_with_the_groups_kept_has_an_interval():
    strata = list(zip(TASKS, RANKS, strict=True))
    metric = with_interval(robometer.policy_ranking(REWARDS, RANKS, TASKS), strata=strata)
    # push takes -1/3, 1/3, 1 or ties between; pick stays 0.
    assert -1 / 6 - 1e-9 <= metric.low < metric.high <= 1 / 2 + 1e-9


def test_average_precision_over_thresholds():
    # 0.9: P = 1, R = 1/2; 0.5: a failure; 0.2: P = 2/3, R = 1. ROC-AUC would be 3/4.
    metric = robometer.success_auprc([0.9, 0.2, 0.5, 0.1], [True, True, False, False]).metric
    assert metric.value == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_equal_scores_share_a_threshold():
    scores, success = [0.9, 0.4, 0.4, 0.4], [False, True, False, True]
    # 0.9: a failure; 0.4: P = 2/4, R = 1.
    assert robometer.success_auprc(scores, success).value == pytest.approx(1 / 2)
    assert average_precision_score(success, scores) == pytest.approx(1 / 2)
