"""The completion head's accuracy."""

from __future__ import annotations

import pytest

from lrm_server.evaluation.metrics import lrm


def test_completion_is_called_from_the_threshold_on():
    metric = lrm.completion_accuracy([[0.5, 0.4, 1], [0]], [[1, 1, 1], [0]]).metric
    # 0.5 is complete; 0.4 is not, and wrong.
    assert (metric.value, metric.count, metric.over) == (pytest.approx(3 / 4), 4, "frames")


def test_completion_at_another_threshold():
    assert lrm.completion_accuracy([[0.5, 0.4, 1]], [[1, 1, 1]], threshold=0.7).value == (
        pytest.approx(1 / 3)
    )


def test_labels_must_be_true_or_false():
    with pytest.raises(ValueError, match="done of episode 1 must be true or false"):
        lrm.completion_accuracy([[1], [1]], [[1], [0.5]])
