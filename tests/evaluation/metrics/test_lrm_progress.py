"""The progress head's errors, against hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lrm_server.evaluation.metrics import lrm

# Absolute errors 0.1, 0.2 in the first episode and 0.4 in the second.
PREDICTED = [[0.1, 0.4], [0.9]]
TRUTH = [[0.0, 0.6], [0.5]]


def test_mae_weighs_frames_not_episodes():
    measured = lrm.mae(PREDICTED, TRUTH)
    # (0.1 + 0.2 + 0.4) / 3; the mean of the episodes' means would be 0.275.
    assert measured.value == pytest.approx(0.7 / 3)
    assert (measured.metric.count, measured.metric.over) == (3, "frames")


def test_rmse_is_the_root_of_the_mean_square():
    # (0.01 + 0.04 + 0.16) / 3 = 0.07
    assert lrm.rmse(PREDICTED, TRUTH).value == pytest.approx(math.sqrt(0.07))


def test_exact_accuracy_compares_the_nearest_tenths():
    predicted = [[0.3, 0.34, 0.35], [0.96, 0.1 + 0.2]]
    truth = [[0.3, 0.30, 0.30], [1.00, 0.3]]
    # 0.35 goes up to 0.4; the other four share their stage.
    assert lrm.exact_accuracy(predicted, truth).value == pytest.approx(4 / 5)


@pytest.mark.parametrize("stage", range(11))
def test_every_stage_is_its_own_however_it_is_computed(stage):
    assert lrm.exact_accuracy([[stage / 10]], [[stage * 0.1]]).value == 1
    assert lrm.exact_accuracy([[stage / 10]], [[(stage + 1) / 10]]).value == 0


def test_the_bound_belongs_to_accuracy_within():
    # In binary 0.9 - 0.7 and 0.3 - 0.1 come out beside 0.2; 0.201 is truly beyond.
    measured = lrm.accuracy_within([[0.3, 0.9, 0.7, 0.401]], [[0.1, 0.7, 0.5, 0.2]])
    assert measured.value == pytest.approx(3 / 4)
    assert measured.name == "accuracy@0.2"


def test_accuracy_within_another_tolerance():
    measured = lrm.accuracy_within(PREDICTED, TRUTH, tolerance=0.1)
    assert (measured.name, measured.value) == ("accuracy@0.1", pytest.approx(1 / 3))
    with pytest.raises(ValueError, match="negative"):
        lrm.accuracy_within(PREDICTED, TRUTH, tolerance=-0.1)


def test_the_curve_is_the_distribution_of_errors():
    # Errors 0, 0.1, 0.2, 0.4.
    curve = lrm.cumulative_accuracy(
        [[0.5, 0.3], [0.3, 0.4]], [[0.5, 0.2], [0.1, 0.8]], [0.4, 0, 0.1, 0.2, 0.3, 1]
    )
    assert curve.thresholds == (0, 0.1, 0.2, 0.3, 0.4, 1)
    assert curve.shares == (0.25, 0.5, 0.75, 0.75, 1, 1)
    assert curve.count == 4


def test_the_curve_passes_through_accuracy_within():
    random = np.random.default_rng(0)
    predicted = random.integers(0, 11, (5, 20)) / 10
    truth = random.integers(0, 11, (5, 20)) / 10
    curve = lrm.cumulative_accuracy(predicted, truth)
    assert curve.thresholds[0] == 0
    assert curve.thresholds[-1] == 1
    for place in (0, 10, 20, 55, 100):
        within = lrm.accuracy_within(predicted, truth, curve.thresholds[place])
        assert curve.shares[place] == pytest.approx(within.value)


def test_a_curve_without_frames_says_why():
    curve = lrm.cumulative_accuracy([[]], [[]])
    assert (curve.shares, curve.count) == ((), 0)
    assert "no frames" in curve.why
