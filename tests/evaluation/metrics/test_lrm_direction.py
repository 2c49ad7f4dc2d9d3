"""Direction, recall and monotonicity, against hand-computed cases."""

from __future__ import annotations

import pytest

from lrm_server.evaluation.metrics import lrm

VALUES = [[1, -1, -1], [0, 1, 1]]
CHANGE = [[0.2, -0.1, -0.2], [0.1, -0.3, 0.0]]


def test_direction_accuracy_counts_undecided_wrong_and_leaves_equal_truth_out():
    metric = lrm.direction_accuracy(VALUES, CHANGE).metric
    # Right, right, right, undecided, wrong, equal in truth.
    assert metric.value == pytest.approx(3 / 5)
    assert (metric.count, metric.over, metric.left_out) == (5, "pairs", 1)
    assert "1 of 6 pairs left out" in metric.note


def test_progress_recall_looks_at_progressing_pairs_alone():
    metric = lrm.progress_recall(VALUES, CHANGE).metric
    # 0.2 is called forward, 0.1 is undecided.
    assert (metric.value, metric.count, metric.left_out) == (pytest.approx(1 / 2), 2, 4)


def test_changes_up_to_the_least_are_none():
    metric = lrm.direction_accuracy(VALUES, CHANGE, least=0.15).metric
    # Changes of 0.2, -0.2 and -0.3 stay: right, right, wrong.
    assert (metric.value, metric.left_out) == (pytest.approx(2 / 3), 3)
    assert lrm.progress_recall(VALUES, CHANGE, least=0.15).value == pytest.approx(1)


def test_rounding_is_no_change():
    assert lrm.direction_accuracy([[1]], [[(0.1 + 0.2) - 0.3]]).metric.left_out == 1


def test_monotonicity_counts_pairs_of_successes_that_do_not_fall():
    values = [[0.1, 0.3, 0.3, 0.2], [1.0, 0.0], [0.5, 0.4]]
    metric = lrm.monotonicity(values, [True, False, True]).metric
    # Rise, equal, fall; then one fall; the failure's fall is not counted.
    assert (metric.value, metric.count, metric.left_out) == (pytest.approx(2 / 4), 4, 1)


def test_a_constant_model_is_monotone_but_has_no_direction():
    assert lrm.monotonicity([[0.4, 0.4, 0.4]], [True]).value == 1
    assert lrm.direction_accuracy([[0, 0]], [[0.1, 0.1]]).value == 0


def test_monotonicity_needs_one_label_an_episode():
    with pytest.raises(ValueError, match="2 episodes and success 1"):
        lrm.monotonicity([[0.1, 0.2], [0.1, 0.2]], [True])
