"""The contrastive head's order of frames, against hand-computed cases."""

from __future__ import annotations

import math

import pytest

from lrm_server.evaluation.metrics import lrm

# One swapped neighbour among four, and a reversed three; the 100 bends no order.
PREDICTED = [[1, 2, 3, 100], [3, 2, 1]]
TRUTH = [[1, 3, 2, 4], [1, 2, 3]]


def test_kendall_tau_is_the_mean_over_episodes():
    # (5 - 1) / 6 = 2/3 and -1.
    assert lrm.kendall_tau(PREDICTED, TRUTH).value == pytest.approx((2 / 3 - 1) / 2)


def test_spearman_is_the_mean_over_episodes():
    # 1 - 6 * 2 / (4 * 15) = 0.8 and -1.
    assert lrm.spearman(PREDICTED, TRUTH).value == pytest.approx((0.8 - 1) / 2)


def test_ties_follow_tau_b_and_mean_ranks():
    # C = 2, D = 0, one of three pairs tied: 2 / sqrt(2 * 3); ranks 1.5, 1.5, 3 on 1, 2, 3.
    assert lrm.kendall_tau([[1, 1, 2]], [[1, 2, 3]]).value == pytest.approx(2 / math.sqrt(6))
    assert lrm.spearman([[1, 1, 2]], [[1, 2, 3]]).value == pytest.approx(1.5 / math.sqrt(3))


@pytest.mark.parametrize("metric", [lrm.kendall_tau, lrm.spearman])
def test_episodes_without_an_order_are_left_out_and_counted(metric):
    # A constant model, a single frame, and a perfect order.
    metric = metric([[0.5, 0.5], [0.1], [1, 2]], [[0, 1], [0], [0, 1]]).metric
    assert (metric.value, metric.count, metric.left_out) == (pytest.approx(1), 1, 2)
    assert "2 of 3" in metric.note
