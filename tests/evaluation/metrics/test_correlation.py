"""Coefficients, against hand-computed cases and brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.evaluation.metrics.correlation import (
    kendall_tau_a,
    kendall_tau_b,
    mean_of,
    pearson,
    spearman,
)

ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20)

# One outlier bends the line and keeps the order: the four coefficients differ.
X, Y = [1, 2, 3, 4], [2, 1, 4, 40]


def test_the_coefficients_are_told_apart():
    # Deviations of x (-1.5, -0.5, 0.5, 1.5), of y (-9.75, -10.75, -7.75, 28.25).
    assert pearson(X, Y) == pytest.approx(58.5 / (5 * 1068.75) ** 0.5)
    assert spearman(X, Y) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert kendall_tau_a(X, Y) == pytest.approx((5 - 1) / 6)
    # With a tie, C = 5 and D = 0 of six pairs: tau_a 5/6, tau_b 5 / sqrt(5 * 6).
    assert kendall_tau_a(X, [1, 1, 2, 3]) == pytest.approx(5 / 6)
    assert kendall_tau_b(X, [1, 1, 2, 3]) == pytest.approx(5 / 30**0.5)


@given(ROWS)
def test_tau_a_is_concordant_less_discordant_over_all_pairs(rows):
    pairs = list(combinations(rows, 2))
    products = [(a - c) * (b - d) for (a, b), (c, d) in pairs]
    expected = (sum(p > 0 for p in products) - sum(p < 0 for p in products)) / len(pairs)
    x, y = zip(*rows, strict=True)
    assert kendall_tau_a(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("coefficient", [pearson, spearman, kendall_tau_b])
def test_a_constant_row_or_one_pair_is_undefined(coefficient):
    assert coefficient([1, 1, 1], [1, 2, 3]) is None
    assert coefficient([1, 2, 3], [1, 1, 1]) is None
    assert coefficient([1], [1]) is None
    assert coefficient([], []) is None


def test_tau_a_of_a_constant_row_is_zero_and_of_one_pair_undefined():
    assert kendall_tau_a([1, 1, 1], [1, 2, 3]) == 0
    assert kendall_tau_a([1], [1]) is None


@pytest.mark.parametrize("coefficient", [pearson, spearman, kendall_tau_a, kendall_tau_b])
def test_bad_rows_are_refused(coefficient):
    with pytest.raises(ValueError, match="one length"):
        coefficient([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="not finite"):
        coefficient([1, np.nan], [1, 2])


def test_a_mean_of_values_counts_those_missing():
    metric = mean_of("delay", [2.0, None, 4.0], over="episodes", undefined="never called").metric
    assert (metric.value, metric.count, metric.left_out) == (3, 2, 1)
    assert metric.note == "undefined in 1 of 3 episodes: never called"
    nothing = mean_of("delay", [None], over="episodes", undefined="never called").metric
    assert nothing.value is None
    assert "never called" in nothing.why
