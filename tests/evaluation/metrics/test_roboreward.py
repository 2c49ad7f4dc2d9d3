"""RoboReward's error and its scale, against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_server.evaluation.metrics import roboreward

SUBSETS = ["a", "a", "b", "b", "b"]
# Errors 1 and 4 (unparsable) in a, 0, 0 and 1 in b.
PREDICTED = [5, None, 1, 1, 2]
TRUTH = [4, 2, 1, 1, 1]


def test_subsets_are_averaged_alike():
    metric = roboreward.macro_mae(PREDICTED, TRUTH, SUBSETS).metric
    # (5/2 + 1/3) / 2; over all answers it would be 6/5.
    assert metric.value == pytest.approx((5 / 2 + 1 / 3) / 2)
    assert metric.count == 5
    assert metric.note.startswith("1 of 5 answers could not be parsed")


def test_each_subset_has_its_error():
    found = roboreward.mae_per_subset(PREDICTED, TRUTH, SUBSETS)
    assert {name: measured.value for name, measured in found.items()} == {
        "a": pytest.approx(5 / 2),
        "b": pytest.approx(1 / 3),
    }
    assert found["a"].metric.note
    assert not found["b"].metric.note


@pytest.mark.parametrize("answer", [None, float("nan")])
@pytest.mark.parametrize("truth", [1, 3, 5])
def test_an_unparsable_answer_is_off_by_four_whatever_the_truth(answer, truth):
    assert roboreward.macro_mae([answer], [truth], ["a"]).value == 4


def test_a_resample_without_a_subset_is_undefined():
    measured = roboreward.macro_mae(PREDICTED, TRUTH, SUBSETS)
    assert measured.statistic(np.array([2, 3])) is None
    # a: errors 1, 1; b: 1.
    assert measured.statistic(np.array([0, 0, 4])) == pytest.approx(1)


def test_ratings_of_scores_are_the_nearest_halves_up():
    np.testing.assert_array_equal(
        roboreward.to_rating([0, 0.12, 0.125, 0.37, 0.375, 0.5, 0.88, 1]), [1, 1, 2, 2, 3, 3, 5, 5]
    )


def test_ratings_come_back_from_their_scores():
    np.testing.assert_array_equal(roboreward.to_rating([0, 0.25, 0.5, 0.75, 1]), range(1, 6))


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_scores_off_the_scale_are_refused(score):
    with pytest.raises(ValueError, match="must lie in"):
        roboreward.to_rating(score)


@pytest.mark.parametrize(
    ("predicted", "truth", "named"), [([6], [5], "predicted"), ([5], [0], "truth")]
)
def test_ratings_off_the_scale_are_refused_by_name(predicted, truth, named):
    with pytest.raises(ValueError, match=named):
        roboreward.macro_mae(predicted, truth, ["a"])
