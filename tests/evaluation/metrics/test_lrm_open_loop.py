"""Whole episodes' rewards, against hand-computed cases and brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lrm_server.evaluation.metrics import lrm

SUCCESS = [True, True, True, False, False]
# Six pairs: four won, two tied, none lost.
SCORES = [0.9, 0.4, 0.4, 0.4, 0.1]

LABELLED = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


def _outcomes(rows):
    won = [score for score, label in rows if label]
    lost = [score for score, label in rows if not label]
    return [np.sign(a - b) for a, b in product(won, lost)]


def test_roc_auc_counts_a_tie_half():
    metric = lrm.roc_auc(SCORES, SUCCESS).metric
    assert metric.value == pytest.approx((4 + 2 / 2) / 6)
    assert (metric.count, metric.over) == (5, "episodes")


def test_pairwise_accuracy_counts_a_tie_wrong():
    metric = lrm.pairwise_accuracy(SCORES, SUCCESS).metric
    assert metric.value == pytest.approx(4 / 6)
    assert (metric.count, metric.over) == (6, "pairs")


@given(LABELLED)
def test_pairwise_accuracy_is_the_share_of_pairs_won(rows):
    scores, labels = zip(*rows, strict=True)
    outcomes = _outcomes(rows)
    expected = sum(outcome > 0 for outcome in outcomes) / len(outcomes)
    assert lrm.pairwise_accuracy(scores, labels).value == pytest.approx(expected)


@given(LABELLED)
def test_roc_auc_is_the_pairs_won_and_half_of_those_tied(rows):
    scores, labels = zip(*rows, strict=True)
    outcomes = _outcomes(rows)
    expected = sum((outcome + 1) / 2 for outcome in outcomes) / len(outcomes)
    assert lrm.roc_auc(scores, labels).value == pytest.approx(expected)
    assert lrm.roc_auc(scores, labels).value == pytest.approx(roc_auc_score(labels, scores))


def test_a_constant_score_is_chance_for_auc_and_nothing_for_pairs():
    assert lrm.roc_auc([1, 1, 1], [True, False, False]).value == 0.5
    assert lrm.pairwise_accuracy([1, 1, 1], [True, False, False]).value == 0


def test_frames_are_pooled_over_episodes():
    metric = lrm.roc_auc([[0.1, 0.8], [0.2]], [[False, True], [False]]).metric
    assert (metric.value, metric.count, metric.over) == (1, 3, "frames")


def test_global_pearson_compares_sums_of_episodes():
    # Sums 3, 1, 2 and totals 2, 1, 0: deviations (1, -1, 0) and (1, 0, -1), so 1 / 2.
    model = [[1, 2], [1], [0.5, 1.5]]
    metric = lrm.global_pearson(model, [[2], [0.5, 0.5], [0]]).metric
    assert (metric.value, metric.count) == (pytest.approx(0.5), 3)


def test_global_pearson_of_equal_sums_is_undefined_despite_rounding():
    model = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]
    assert sum(model[0]) != sum(model[1])
    assert lrm.global_pearson(model, [1, 2]).value is None


def test_trajectory_pearson_is_the_mean_of_the_defined():
    model = [[0, 1, 5], [0, 1, 2], [0.7, 0.7, 0.7]]
    oracle = [[0, 2, 4], [1, 0, 2], [0, 1, 2]]
    metric = lrm.trajectory_pearson(model, oracle).metric
    # Deviations (-2, -1, 3) and (-2, 0, 2): 10 / sqrt(14 * 8); (-1, 0, 1) and (0, -1, 1): 1 / 2;
    # the third model is constant.
    assert metric.value == pytest.approx((10 / 112**0.5 + 1 / 2) / 2)
    assert (metric.count, metric.left_out) == (2, 1)
    assert "1 of 3" in metric.note


def test_global_pearson_needs_one_total_an_episode():
    with pytest.raises(ValueError, match="2 episodes and oracle_rewards 1"):
        lrm.global_pearson([[1], [2]], [[1]])
