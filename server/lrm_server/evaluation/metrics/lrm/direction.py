"""Whether the contrastive head sees forward and backward for what they are."""

from __future__ import annotations

from typing import Final

import numpy as np

from lrm_server.evaluation.metrics.columns import Column, checked, flags, scalars
from lrm_server.evaluation.metrics.ratios import ratio
from lrm_server.evaluation.metrics.result import Measurement

LEAST_CHANGE: Final = 1e-9


def direction_accuracy(values: Column, change: Column, least: float = LEAST_CHANGE) -> Measurement:
    """Share of pairs whose sign is that of the true change: mean of [sign(v) == sign(change)].

    In [0, 1], higher is better; 0.5 is chance for a model that always decides. LRM's direction
    accuracy of the contrastive head.

    Decisions: an undecided answer (0) is wrong; pairs whose true progress is equal have no
    direction and are left out and counted, as an answer of 0 is not open to a model that must
    choose one of two labels. A model that always says forward scores the share of forward pairs.
    One pair gives 0 or 1; undefined when no pair changes.

    Args:
        values: a contrastive value a pair, positive for current closer to the goal.
        change: true progress of current less that of previous.
        least: a change up to this is none.
    """
    given, true = checked(values=values, change=change)
    moved = [np.abs(c) > least for c in true]
    right = [
        np.sum((np.sign(v) == np.sign(c)) & m) for v, c, m in zip(given, true, moved, strict=True)
    ]
    pairs = sum(len(m) for m in moved)
    still = pairs - sum(int(m.sum()) for m in moved)
    return ratio(
        "direction accuracy",
        right,
        [m.sum() for m in moved],
        over="pairs",
        reason="no pair of frames differs in true progress" if still else "there are no pairs",
        left_out=still,
        note=f"{still} of {pairs} pairs left out: equal true progress" if still else "",
    )


def progress_recall(values: Column, change: Column, least: float = LEAST_CHANGE) -> Measurement:
    """Share of the pairs that truly progress which are called so: mean of [v > 0] over change > 0.

    In [0, 1], higher is better. LRM's progress recall of the contrastive head. A model that
    always says forward scores 1: read it beside ``direction_accuracy``.

    Decisions: an undecided answer (0) is a miss; pairs that do not progress are left out and
    counted. One pair gives 0 or 1; undefined when no pair progresses.

    Args:
        values: a contrastive value a pair, positive for current closer to the goal.
        change: true progress of current less that of previous.
        least: a change up to this is none.
    """
    given, true = checked(values=values, change=change)
    forward = [c > least for c in true]
    called = [np.sum((v > 0) & f) for v, f in zip(given, forward, strict=True)]
    other = sum(int(np.sum(~f)) for f in forward)
    return ratio(
        "progress recall",
        called,
        [f.sum() for f in forward],
        over="pairs",
        reason="no pair of frames progresses in truth" if other else "there are no pairs",
        left_out=other,
    )


def monotonicity(values: Column, success: Column, tolerance: float = LEAST_CHANGE) -> Measurement:
    """Share of consecutive frames of successful episodes between which the value does not fall.

    Mean of [v(i+1) >= v(i)]. In [0, 1], higher is better. LRM's monotonicity on successes.

    Decisions: an equal value does not fall, so a constant model scores 1 and the score must be
    read beside ``direction_accuracy``; the pairs of all successful episodes count alike; for the
    contrastive head the values are its running sum over consecutive pairs (``numpy.cumsum``,
    after a 0 for the first frame), which falls where the answer is negative. Episodes of one
    frame add no pair; undefined when no successful episode has two frames.

    Args:
        values: a value a frame, in the order of time.
        success: one bool an episode; the pairs of failures are left out and counted.
        tolerance: a fall up to this is none.
    """
    (given,) = checked(values=values)
    succeeded = flags("success", [scalars("success", success)])[0]
    if len(succeeded) != len(given):
        raise ValueError(
            f"values has {len(given)} episodes and success {len(succeeded)}: give one entry "
            "an episode in both"
        )
    steps = [np.diff(v) if s else np.empty(0) for v, s in zip(given, succeeded, strict=True)]
    return ratio(
        "monotonicity on successes",
        [np.sum(step >= -tolerance) for step in steps],
        [len(step) for step in steps],
        over="pairs",
        reason="no successful episode has two frames"
        if np.any(succeeded)
        else "no episode is a success",
        left_out=sum(max(len(v) - 1, 0) for v, s in zip(given, succeeded, strict=True) if not s),
    )
