"""Intervals and differences by resampling episodes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lrm_server.evaluation.metrics import lrm, roboreward
from lrm_server.evaluation.metrics.bootstrap import (
    difference,
    interval,
    of_records,
    with_interval,
)


def _mean(values):
    return lambda drawn: float(values[drawn].mean())


def test_a_95_percent_interval_holds_the_true_mean_in_about_95_percent():
    random = np.random.default_rng(7)
    trials = 400
    held = 0
    for trial in range(trials):
        found = interval(_mean(random.normal(3, 2, 50)), 50, resamples=200, seed=trial)
        held += found.low <= 3 <= found.high
    # The percentile interval of 50 falls a little short of 0.95; 0.9 is 4.6 deviations away.
    assert 0.90 <= held / trials <= 0.98


def test_a_level_is_kept():
    values = np.random.default_rng(3).normal(size=200)
    for level in (0.5, 0.8, 0.95):
        found = interval(_mean(values), 200, resamples=4000, level=level)
        width = 2 * stats.norm.ppf((1 + level) / 2) * values.std() / 200**0.5
        assert found.high - found.low == pytest.approx(width, rel=0.1)
        assert found.level == level


def test_frames_of_an_episode_are_drawn_together():
    errors = np.random.default_rng(5).normal(0.5, 0.1, 40)
    one = lrm.mae([[error] for error in errors], [[0.0]] * 40)
    many = lrm.mae([[error] * 25 for error in errors], [[0.0] * 25] * 40)
    first, second = with_interval(one), with_interval(many)
    # Repeating a frame brings no evidence; drawing frames would divide the width by 5.
    assert second.high - second.low == pytest.approx(first.high - first.low)
    assert first.high - first.low == pytest.approx(3.92 * errors.std() / 40**0.5, rel=0.15)


def test_an_interval_holds_its_value_and_says_its_level():
    random = np.random.default_rng(2)
    truth = [random.random(10) for _ in range(30)]
    metric = with_interval(lrm.mae([t * 0.8 for t in truth], truth))
    assert metric.low < metric.value < metric.high
    assert metric.level == 0.95


def test_equal_seeds_give_equal_intervals():
    measured = lrm.roc_auc(
        np.random.default_rng(0).random(30) + np.arange(30) % 2 / 2, np.arange(30) % 2
    )
    first, again, other = (with_interval(measured, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_one_episode_has_a_value_and_no_interval():
    metric = with_interval(lrm.mae([[0.1, 0.2]], [[0.2, 0.5]]))
    assert (metric.value, metric.low, metric.high, metric.level) == (
        pytest.approx(0.2),
        None,
        None,
        None,
    )
    assert "one episode has no spread" in metric.note


def test_equal_resamples_have_no_interval():
    metric = with_interval(lrm.accuracy_within([[0.5]] * 10, [[0.5]] * 10))
    assert (metric.value, metric.low) == (1, None)
    assert "every resample gives 1" in metric.note


def test_rounding_is_not_spread():
    metric = with_interval(lrm.mae([[0.1] * 3, [0.1], [0.1] * 2], [[0.0] * 3, [0.0], [0.0] * 2]))
    assert metric.low is None


def test_a_statistic_often_undefined_has_no_interval_and_says_how_often():
    scores = np.arange(10) / 10
    metric = with_interval(lrm.roc_auc(scores, scores < 0.85))
    # One failure of ten is missing from 0.9^10 = 35 % of the resamples.
    assert metric.value == 0
    assert metric.low is None
    undefined = int(metric.note.split("undefined on ")[1].split(" of 1000")[0])
    assert 300 < undefined < 400


def test_a_few_undefined_resamples_widen_the_interval_and_are_told():
    values = np.random.default_rng(9).normal(size=30)
    calls = iter(range(2000))

    def sometimes(drawn):
        return None if next(calls) % 100 == 0 else float(values[drawn].mean())

    always, found = interval(_mean(values), 30), interval(sometimes, 30)
    assert found.note == "undefined on 10 of 1000 resamples"
    assert found.low < always.low
    assert found.high > always.high


def test_a_difference_is_paired_by_episode():
    random = np.random.default_rng(11)
    hard = random.random(40)
    first = lrm.mae((hard + 0.05 + random.normal(0, 0.01, 40))[:, None], np.zeros((40, 1)))
    second = lrm.mae(hard[:, None], np.zeros((40, 1)))
    metric = with_interval(difference(first, second))
    assert metric.value == pytest.approx(first.value - second.value)
    assert metric.name == "MAE: difference"
    # The episodes' difficulty cancels: the noise is 0.01 / sqrt(40), not 0.3 / sqrt(40) each.
    assert 0.04 < metric.low < 0.05 < metric.high < 0.06
    assert with_interval(first).low < second.value


def test_a_difference_turns_with_its_sides():
    random = np.random.default_rng(12)
    first, second = (lrm.mae(random.random((20, 3)), np.zeros((20, 3))) for _ in range(2))
    there, back = (
        with_interval(difference(*sides)) for sides in ((first, second), (second, first))
    )
    assert (there.value, there.low, there.high) == (
        pytest.approx(-back.value),
        pytest.approx(-back.high),
        pytest.approx(-back.low),
    )


def test_different_metrics_or_episodes_have_no_difference():
    two, three = ([[0.1]] * 2, [[0.2]] * 2), ([[0.1]] * 3, [[0.2]] * 3)
    with pytest.raises(ValueError, match="MAE and RMSE"):
        difference(lrm.mae(*two), lrm.rmse(*two))
    with pytest.raises(ValueError, match="2 and 3 episodes"):
        difference(lrm.mae(*two), lrm.mae(*three))


def test_strata_keep_their_sizes():
    subsets = ["large"] * 20 + ["small"] * 2
    predicted, truth = [3, 4] * 10 + [1, 5], [3] * 20 + [1, 1]
    measured = roboreward.macro_mae(predicted, truth, subsets)
    # Without strata the small subset is missing from (20/22)^22 = 12 % of the resamples.
    assert with_interval(measured).low is None
    metric = with_interval(measured, strata=subsets)
    assert metric.value == pytest.approx((0.5 + 2) / 2)
    assert metric.low < metric.value < metric.high
    assert "undefined" not in metric.note


def test_strata_of_one_episode_have_no_spread():
    metric = with_interval(lrm.mae([[0.1], [0.5]], [[0], [0]]), strata=["a", "b"])
    assert metric.low is None
    assert "one episode in each stratum" in metric.note


def test_a_stratum_of_one_episode_among_others_is_told():
    errors, strata = [[0.1], [0.5], [0.4]], ["a", "a", "b"]
    metric = with_interval(lrm.mae(errors, [[0]] * 3), strata=strata)
    # The second stratum always gives 0.4: the ends are (0.1 + 0.1 + 0.4)/3 and (0.5 + 0.5 + 0.4)/3.
    assert (metric.low, metric.high) == (pytest.approx(0.2), pytest.approx(1.4 / 3))
    assert metric.note == "1 of 2 strata hold one episode and add no spread"


def test_equal_models_have_a_difference_of_zero_without_interval():
    said = np.random.default_rng(1).random((12, 5))
    turned = said[:, ::-1]
    metric = with_interval(difference(lrm.mae(said, said * 0.5), lrm.mae(turned, turned * 0.5)))
    assert metric.value == pytest.approx(0)
    assert metric.low is None


def test_any_function_of_records_has_an_interval():
    records = [{"delay": delay} for delay in (1, 2, 3, 4, 100)]
    measured = of_records(
        "median delay", records, lambda drawn: float(np.median([row["delay"] for row in drawn]))
    )
    metric = with_interval(measured)
    assert (metric.value, metric.count) == (3, 5)
    assert metric.low in (1, 2)
    assert metric.high in (4, 100)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": 1.0}, "between 0 and 1"),
        ({"resamples": 20}, "too few"),
        ({"strata": ["a"]}, "1 strata for 2 episodes"),
    ],
)
def test_impossible_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        with_interval(lrm.mae([[0.1], [0.5]], [[0], [0]]), **options)
