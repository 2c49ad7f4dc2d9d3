"""A metric that cannot be computed says why, and never gives a number."""

from __future__ import annotations

import pytest

from lrm_server.evaluation.metrics import calibration, lrm, robometer, roboreward
from lrm_server.evaluation.metrics.bootstrap import difference, with_interval
from lrm_server.evaluation.metrics.result import Metric

EMPTY = {
    "mae": lrm.mae([], []),
    "rmse": lrm.rmse([], []),
    "exact": lrm.exact_accuracy([], []),
    "within": lrm.accuracy_within([], []),
    "completion": lrm.completion_accuracy([], []),
    "kendall": lrm.kendall_tau([], []),
    "spearman": lrm.spearman([], []),
    "direction": lrm.direction_accuracy([], []),
    "recall": lrm.progress_recall([], []),
    "monotonicity": lrm.monotonicity([], []),
    "auc": lrm.roc_auc([], []),
    "pairwise": lrm.pairwise_accuracy([], []),
    "global pearson": lrm.global_pearson([], []),
    "trajectory pearson": lrm.trajectory_pearson([], []),
    "roboreward": roboreward.macro_mae([], [], []),
    "voc pearson": robometer.voc_pearson([], []),
    "voc spearman": robometer.voc_spearman([], []),
    "ranking": robometer.policy_ranking([], [], []),
    "auprc": robometer.success_auprc([], []),
    "ece": calibration.ece([], []),
    "brier": calibration.brier([], []),
}

UNDEFINED = {
    "mae of no frames": (lrm.mae([[]], [[]]), "no frames"),
    "completion of no frames": (lrm.completion_accuracy([[]], [[]]), "no frames"),
    "order of one frame": (lrm.kendall_tau([[0.1]], [[0.0]]), "fewer than two frames"),
    "order of a constant model": (lrm.spearman([[1, 1]], [[0, 1]]), "constant"),
    "direction without change": (lrm.direction_accuracy([[1]], [[0]]), "differs in true progress"),
    "direction without pairs": (lrm.direction_accuracy([[]], [[]]), "there are no pairs"),
    "recall without progress": (lrm.progress_recall([[1]], [[-0.5]]), "no pair of frames"),
    "monotonicity of failures": (lrm.monotonicity([[0, 1]], [False]), "no episode is a success"),
    "monotonicity of one frame": (lrm.monotonicity([[0]], [True]), "two frames"),
    "auc of successes": (
        lrm.roc_auc([1, 2], [True, True]),
        "all episodes are successes: ROC-AUC needs both classes",
    ),
    "auc of failures": (
        lrm.roc_auc([[1, 2]], [[False, False]]),
        "all frames are failures: ROC-AUC needs both classes",
    ),
    "pairwise of successes": (lrm.pairwise_accuracy([1], [True]), "needs both classes"),
    "auprc of successes": (robometer.success_auprc([1], [True]), "needs both classes"),
    "pearson of one episode": (lrm.global_pearson([[1]], [[1]]), "fewer than two episodes"),
    "pearson of one frame": (lrm.trajectory_pearson([[1]], [[1]]), "fewer than two frames"),
    "voc of one frame": (robometer.voc_pearson([[1]], [[1]]), "fewer than two frames"),
    "ranking of one policy": (robometer.policy_ranking([1, 2], [0, 0], ["a", "a"]), "two policies"),
    "ece of no answers": (calibration.ece([[]], [[]]), "no answers"),
    "brier of no answers": (calibration.brier([[]], [[]]), "no answers"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_without_episodes_there_is_no_value(name):
    metric = with_interval(EMPTY[name])
    assert (metric.value, metric.low, metric.high) == (None, None, None)
    assert metric.why == "there are no episodes"


@pytest.mark.parametrize("name", UNDEFINED)
def test_an_undefined_metric_says_why(name):
    measurement, words = UNDEFINED[name]
    metric = with_interval(measurement)
    assert (metric.value, metric.low, metric.high) == (None, None, None)
    assert words in metric.why


def test_a_difference_with_a_missing_side_says_which_is_missing():
    defined = lrm.roc_auc([1, 2], [True, False])
    metric = with_interval(difference(defined, lrm.roc_auc([1, 2], [True, True])))
    assert metric.value is None
    assert "all episodes are successes" in metric.why


def test_one_frame_is_enough_where_the_definition_allows_it():
    assert lrm.mae([[0.25]], [[0.5]]).value == 0.25
    assert lrm.exact_accuracy([[0.5]], [[0.5]]).value == 1
    assert lrm.direction_accuracy([[-1]], [[-0.5]]).value == 1
    assert calibration.brier([[0.5]], [[True]]).value == 0.25


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (([[1]], [[1], [2]]), "predicted has 1 episodes and truth 2"),
        (([[1], [1]], [[1], [1, 2]]), "episode 1 has 1 entries in predicted and 2 in truth"),
        (([[1], [float("nan")]], [[1], [1]]), "predicted of episode 1 holds a number"),
        (([[1]], [[float("inf")]]), "truth of episode 0 holds a number"),
        (([[[1]]], [[[1]]]), "predicted of episode 0 has shape"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(columns, words):
    with pytest.raises(ValueError, match=words):
        lrm.mae(*columns)


@pytest.mark.parametrize(
    "broken",
    [
        {"value": float("nan")},
        {"value": None},
        {"value": 0.5, "why": "undefined"},
        {"value": 0.5, "low": 0.4},
        {"value": None, "why": "undefined", "low": 0.0, "high": 1.0},
        {"value": 0.5, "low": 0.1, "high": float("inf")},
    ],
)
def test_a_result_cannot_contradict_itself(broken):
    with pytest.raises(ValueError):
        Metric("MAE", **broken)
