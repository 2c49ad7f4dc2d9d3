"""How often the completion head is right about a frame."""

from __future__ import annotations

from typing import Final

import numpy as np

from lrm_server.evaluation.metrics.columns import Column, checked, flags
from lrm_server.evaluation.metrics.ratios import ratio
from lrm_server.evaluation.metrics.result import Measurement

DONE_AT: Final = 0.5


def completion_accuracy(predicted: Column, done: Column, threshold: float = DONE_AT) -> Measurement:
    """Share of frames whose completion is called rightly: mean of [p >= threshold] == done.

    In [0, 1], higher is better. LRM's accuracy of the completion head.

    A value at the threshold calls the frame complete. A model that always says one thing scores
    that class's share, which is why ``open_loop.roc_auc`` belongs beside it. One frame gives 0
    or 1; undefined without frames.

    Args:
        predicted: a value in [0, 1] a frame: 1 or 0 by label, or the expected value.
        done: bool a frame.
        threshold: decision: 0.5, which a label's value never meets.
    """
    values, truth = checked(predicted=predicted, done=done)
    truth_flags = flags("done", truth)
    right = [np.sum((p >= threshold) == d) for p, d in zip(values, truth_flags, strict=True)]
    return ratio(
        "completion accuracy",
        right,
        [len(p) for p in values],
        over="frames",
        reason="there are no frames",
    )
