"""Whether a probability means what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from lrm_server.evaluation.metrics.columns import Column, Floats, checked, flags
from lrm_server.evaluation.metrics.ratios import ratio
from lrm_server.evaluation.metrics.result import Drawn, Measurement

BINS: Final = 10

_EPSILON: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability curve: confidences in (low, high], the first with its low end.

    Attributes:
        low: lower edge.
        high: upper edge.
        count: how many confidences it holds.
        confidence: their mean, or None in an empty bin.
        observed: the share of them that came true, or None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    observed: float | None


def reliability_curve(confidence: Column, outcome: Column, bins: int = BINS) -> tuple[Bin, ...]:
    """Mean confidence and observed frequency in bins of equal width over [0, 1].

    A calibrated model has the two equal in every bin. Bins as in Guo et al. 2017; empty ones
    are kept and say so.

    Args:
        confidence: probability of the outcome, a frame or an episode.
        outcome: bool, of the same shape.
        bins: how many.

    Raises:
        ValueError: fewer than one bin, or a confidence outside [0, 1].
    """
    sums = _sums(confidence, outcome, bins).sum(axis=0)
    edges = np.linspace(0, 1, bins + 1)
    return tuple(
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            int(count),
            float(confident / count) if count else None,
            float(true / count) if count else None,
        )
        for place, (count, confident, true) in enumerate(sums)
    )


def ece(confidence: Column, outcome: Column, bins: int = BINS) -> Measurement:
    """Expected calibration error: sum over bins of (n_b / n) |observed_b - confidence_b|.

    In [0, 1], lower is better. Guo et al. 2017, bins of equal width. A constant confidence at
    the base rate scores 0: calibration says nothing about telling successes from failures. One
    class is no obstacle. With few entries a bin it is biased upwards; undefined without any.

    Args:
        confidence: probability of the outcome, a frame or an episode.
        outcome: bool, of the same shape.
        bins: how many.

    Raises:
        ValueError: fewer than one bin, or a confidence outside [0, 1].
    """
    sums = _sums(confidence, outcome, bins)

    def statistic(drawn: Drawn) -> float | None:
        counts, confident, true = sums[drawn].sum(axis=0).T
        total = counts.sum()
        return float(np.abs(confident - true).sum() / total) if total else None

    return Measurement(
        "ECE",
        statistic,
        episodes=len(sums),
        count=int(sums[..., 0].sum()),
        over="answers",
        reason="there are no answers",
    )


def brier(confidence: Column, outcome: Column) -> Measurement:
    """Brier score: mean of (p - y)^2, y being 0 or 1.

    In [0, 1], lower is better; a constant 0.5 scores 0.25, a constant at the base rate q scores
    q(1 - q). Brier 1950, for two classes. It rewards calibration and separation together. One
    class and one entry are enough; undefined without any.

    Args:
        confidence: probability of the outcome, a frame or an episode.
        outcome: bool, of the same shape.

    Raises:
        ValueError: a confidence outside [0, 1].
    """
    given, true = _checked(confidence, outcome)
    squares = [(p - y) ** 2 for p, y in zip(given, true, strict=True)]
    return ratio(
        "Brier score",
        [square.sum() for square in squares],
        [len(square) for square in squares],
        over="answers",
        reason="there are no answers",
    )


def _checked(confidence: Column, outcome: Column) -> tuple[list[Floats], list[Floats]]:
    given, true = checked(confidence=confidence, outcome=outcome)
    flags("outcome", true)
    for episode, row in enumerate(given):
        if not np.all((row >= 0) & (row <= 1)):
            raise ValueError(f"confidence of episode {episode} must lie in [0, 1]")
    return given, true


def _sums(confidence: Column, outcome: Column, bins: int) -> Floats:
    """Count, sum of confidences and count of true outcomes: (E, bins, 3)."""
    if bins < 1:
        raise ValueError(f"bins {bins} must be at least 1")
    given, true = _checked(confidence, outcome)
    inner = np.linspace(0, 1, bins + 1)[1:-1] + _EPSILON
    found = np.zeros((len(given), bins, 3))
    for row, p, y in zip(found, given, true, strict=True):
        place = np.searchsorted(inner, p)
        for column, weights in enumerate((np.ones_like(p), p, y)):
            row[:, column] = np.bincount(place, weights, bins)
    return found
