"""Metrics of scores against two classes, which need both of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lrm_server.evaluation.metrics.columns import Column, Floats, checked, flags, pooled
from lrm_server.evaluation.metrics.result import Drawn, Measurement


def two_classes(
    name: str,
    scores: Column,
    positive: Column,
    statistic: Callable[[Floats, Floats], float],
    *,
    over: str = "",
) -> Measurement:
    """A metric of (scores, classes of 0 and 1), undefined where one class is missing.

    Args:
        name: of the metric.
        scores: one number an episode, or one a frame.
        positive: bool, of the same shape.
        statistic: of scores and classes, both float64 (n,), with both classes there.
        over: ``pairs`` for pairs of the classes; else episodes or frames, as the columns hold.
    """
    given, labels = checked(scores=scores, success=positive)
    flags("success", labels)
    pool = pooled([given, labels])
    total, positives = len(pool.columns[1]), int(pool.columns[1].sum())
    unit = "episodes" if all(len(row) == 1 for row in given) else "frames"

    def over_drawn(drawn: Drawn) -> float | None:
        values, classes = pool.of(drawn)
        return statistic(values, classes) if 0 < np.sum(classes) < len(classes) else None

    return Measurement(
        name,
        over_drawn,
        episodes=len(given),
        count=positives * (total - positives) if over == "pairs" else total,
        over=over or unit,
        reason=_one_class(name, unit, total, positives),
    )


def _one_class(name: str, unit: str, total: int, positives: int) -> str:
    if not total:
        return f"there are no {unit}"
    only = "successes" if positives else "failures"
    return f"all {unit} are {only}: {name} needs both classes"
