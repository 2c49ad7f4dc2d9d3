"""How far the progress head's values are from true progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lrm_server.evaluation.metrics.columns import Column, Floats, checked
from lrm_server.evaluation.metrics.ratios import ratio
from lrm_server.evaluation.metrics.result import Measurement

EPSILON: Final = 1e-9
"""How much a difference of decimals may be off: |0.3 - 0.1| is not 0.2 in binary."""

STAGES: Final = 10
"""Progress is answered in tenths."""

_NO_FRAMES: Final = "there are no frames"


def mae(predicted: Column, truth: Column) -> Measurement:
    """Mean absolute error: mean over frames of |p - t|.

    In [0, 1] for progress, lower is better. LRM's MAE.

    Decision: over all frames alike, so longer episodes weigh more. One frame is enough;
    undefined without frames. A constant answer has the spread of the truth about it as its
    error, which can be low where progress is often at one end.

    Args:
        predicted: progress a frame.
        truth: oracle progress a frame.
    """
    errors = _errors(predicted, truth)
    return _mean_over_frames("MAE", errors)


def rmse(predicted: Column, truth: Column) -> Measurement:
    """Root of the mean squared error: sqrt(mean over frames of (p - t)^2).

    In [0, 1] for progress, lower is better, at least the MAE. LRM's RMSE. Weighting and what is
    undefined: as for ``mae``.

    Args:
        predicted: progress a frame.
        truth: oracle progress a frame.
    """
    squares = [error**2 for error in _errors(predicted, truth)]
    return ratio(
        "RMSE",
        [square.sum() for square in squares],
        [len(square) for square in squares],
        over="frames",
        reason=_NO_FRAMES,
        then=math.sqrt,
    )


def exact_accuracy(predicted: Column, truth: Column) -> Measurement:
    """Share of frames whose stage is the true one: mean of [stage(p) == stage(t)].

    In [0, 1], higher is better. LRM's exact accuracy over the eleven stages 0.0, 0.1 ... 1.0.

    Decision: oracle progress is continuous and the head's labels are tenths, so both are taken
    to the nearest tenth, halves up; a label's value is its own stage. One frame gives 0 or 1;
    undefined without frames.

    Args:
        predicted: progress a frame, in [0, 1].
        truth: oracle progress a frame, in [0, 1].
    """
    columns = zip(*checked(predicted=predicted, truth=truth), strict=True)
    return _mean_over_frames("exact accuracy", [_stage(p) == _stage(t) for p, t in columns])


def accuracy_within(predicted: Column, truth: Column, tolerance: float = 0.2) -> Measurement:
    """Share of frames with an error of at most the tolerance: mean of [|p - t| <= tolerance].

    In [0, 1], higher is better. LRM's accuracy@0.2. The bound belongs to it, whatever binary
    fractions make of 0.3 - 0.1. One frame gives 0 or 1; undefined without frames.

    Args:
        predicted: progress a frame.
        truth: oracle progress a frame.
        tolerance: at least 0.

    Raises:
        ValueError: a negative tolerance.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance {tolerance} must not be negative")
    within = [error <= tolerance + EPSILON for error in _errors(predicted, truth)]
    return _mean_over_frames(f"accuracy@{tolerance:g}", within)


@dataclass(frozen=True, slots=True)
class Curve:
    """Cumulative accuracy.

    Attributes:
        thresholds: errors, ascending.
        shares: of frames whose error is at most the threshold; empty when there are no frames.
        count: frames.
        why: why there is no curve; empty when there is one.
    """

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    count: int
    why: str = ""


def cumulative_accuracy(
    predicted: Column, truth: Column, thresholds: Sequence[float] | None = None
) -> Curve:
    """Share of frames with an error of at most t, for each t: the distribution of errors.

    F(t) = mean over frames of [|p - t_true| <= t]. Rises from the share of exact values to 1;
    higher is better at every threshold. LRM's cumulative accuracy curve; its value at 0.2 is
    ``accuracy_within``, which also gives the interval at any threshold.

    Args:
        predicted: progress a frame.
        truth: oracle progress a frame.
        thresholds: decision: 0.00, 0.01 ... 1.00 unless given.
    """
    steps = sorted(thresholds) if thresholds is not None else np.linspace(0, 1, 101).tolist()
    errors = np.sort(np.concatenate([np.empty(0), *_errors(predicted, truth)]))
    if not len(errors):
        return Curve(tuple(steps), (), 0, _NO_FRAMES)
    within = np.searchsorted(errors, np.asarray(steps) + EPSILON, side="right")
    return Curve(tuple(steps), tuple((within / len(errors)).tolist()), len(errors))


def _errors(predicted: Column, truth: Column) -> list[Floats]:
    columns = zip(*checked(predicted=predicted, truth=truth), strict=True)
    return [np.abs(p - t) for p, t in columns]


def _stage(progress: Floats) -> Floats:
    stage: Floats = np.floor(progress * STAGES + 0.5 + EPSILON)
    return stage


def _mean_over_frames(name: str, values: Sequence[np.ndarray]) -> Measurement:
    return ratio(
        name,
        [value.sum() for value in values],
        [len(value) for value in values],
        over="frames",
        reason=_NO_FRAMES,
    )
