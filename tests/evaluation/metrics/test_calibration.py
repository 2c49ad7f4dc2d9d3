"""Reliability, ECE and Brier, against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from lrm_server.evaluation.metrics import calibration

CONFIDENCE = [[0.95, 0.95], [0.15, 0.15]]
OUTCOME = [[True, False], [False, False]]


def test_ece_weighs_the_gap_of_each_bin():
    metric = calibration.ece(CONFIDENCE, OUTCOME).metric
    # Half in (0.9, 1.0]: |0.5 - 0.95|; half in (0.1, 0.2]: |0 - 0.15|.
    assert (metric.value, metric.count) == (pytest.approx(0.45 / 2 + 0.15 / 2), 4)


def test_ece_with_one_bin_is_the_gap_of_the_means():
    # 2.2 / 4 against 1 / 4.
    assert calibration.ece(CONFIDENCE, OUTCOME, bins=1).value == pytest.approx(0.55 - 0.25)


def test_brier_is_the_mean_square():
    # 0.0025 + 0.9025 + 0.0225 + 0.0225
    assert calibration.brier(CONFIDENCE, OUTCOME).value == pytest.approx(0.95 / 4)


def test_brier_agrees_with_scikit_learn():
    random = np.random.default_rng(1)
    p, y = random.random(50), random.random(50) < 0.4
    assert calibration.brier(p, y).value == pytest.approx(brier_score_loss(y, p))


def test_the_curve_keeps_empty_bins():
    curve = calibration.reliability_curve(CONFIDENCE, OUTCOME, bins=5)
    assert [found.count for found in curve] == [2, 0, 0, 0, 2]
    assert (curve[0].low, curve[0].high) == (0, pytest.approx(0.2))
    assert (curve[0].confidence, curve[0].observed) == (pytest.approx(0.15), 0)
    assert (curve[2].confidence, curve[2].observed) == (None, None)
    assert (curve[4].confidence, curve[4].observed) == (pytest.approx(0.95), pytest.approx(0.5))


def test_an_edge_belongs_to_the_bin_below():
    confidence = np.arange(11) / 10
    counts = [
        found.count for found in calibration.reliability_curve([confidence], [confidence > 2])
    ]
    # 0.0 and 0.1 in the first, then each tenth closes its bin, 0.3 and 0.7 too.
    assert counts == [2] + [1] * 9


def test_a_constant_at_the_base_rate_is_calibrated_but_not_sharp():
    confidence, outcome = [[0.25] * 4], [[True, False, False, False]]
    assert calibration.ece(confidence, outcome).value == pytest.approx(0)
    assert calibration.brier(confidence, outcome).value == pytest.approx(0.25 * 0.75)


def test_ece_over_a_resample_pools_before_it_bins():
    measured = calibration.ece([[0.9], [0.9]], [[True], [False]])
    assert measured.statistic(np.array([0, 0])) == pytest.approx(0.1)
    assert measured.statistic(np.array([0, 1])) == pytest.approx(0.4)


@pytest.mark.parametrize("metric", [calibration.ece, calibration.brier])
def test_a_confidence_is_a_probability(metric):
    with pytest.raises(ValueError, match="confidence of episode 1"):
        metric([0.5, 1.5], [True, True])


def test_there_is_at_least_one_bin():
    with pytest.raises(ValueError, match="at least 1"):
        calibration.ece(CONFIDENCE, OUTCOME, bins=0)
