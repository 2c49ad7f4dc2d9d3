"""Metrics that are a ratio of sums over episodes: most errors, shares and means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from lrm_server.evaluation.metrics.result import Drawn, Measurement


def ratio(
    name: str,
    sums: ArrayLike,
    counts: ArrayLike,
    *,
    over: str,
    reason: str,
    then: Callable[[float], float] | None = None,
    left_out: int = 0,
    note: str = "",
) -> Measurement:
    """Sum over episodes of ``sums`` by that of ``counts``; undefined where nothing is counted.

    Args:
        name: of the metric.
        sums: (E,), what each episode adds above.
        counts: (E,), how many units each episode adds below.
        over: the units.
        reason: why the ratio is undefined when nothing is counted.
        then: applied to the ratio, a square root for example.
        left_out: units that are not counted.
        note: what else must be known.
    """
    above = np.asarray(sums, dtype=np.float64)
    below = np.asarray(counts, dtype=np.float64)

    def statistic(drawn: Drawn) -> float | None:
        total = float(below[drawn].sum())
        if not total:
            return None
        share = float(above[drawn].sum()) / total
        return then(share) if then else share

    return Measurement(name, statistic, len(above), int(below.sum()), over, left_out, reason, note)
