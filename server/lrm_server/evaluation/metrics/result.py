"""What a metric function returns, and the one result type of all metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Drawn = NDArray[np.intp]
"""Episodes by their place in the columns; a resample draws some more than once."""

Statistic = Callable[[Drawn], float | None]
"""A metric's value over the drawn episodes, or None where it is undefined on them."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is reported.

    Attributes:
        name: what is measured.
        value: None when it cannot be computed; never NaN, never a stand-in.
        low: lower end of the confidence interval, or None.
        high: upper end of the confidence interval, or None.
        level: what share of such intervals holds the true value, for example 0.95; or None.
        count: how many units the value is over.
        over: the units: episodes, frames, pairs, tasks, subsets.
        left_out: how many units were left out because the metric says nothing about them.
        why: in words, why there is no value; empty when there is one.
        note: in words, what else must be known: why there is no interval, what was left out.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    count: int = 0
    over: str = ""
    left_out: int = 0
    why: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.name}: {number} is no result; give None and say why")
        if (self.value is None) != bool(self.why):
            raise ValueError(f"{self.name}: a metric has either a value or a reason why not")
        if (self.low is None) != (self.high is None) or (
            self.value is None and self.low is not None
        ):
            raise ValueError(f"{self.name}: an interval has two ends and needs a value")


@dataclass(frozen=True, eq=False)
class Measurement:
    """A metric over some episodes, which can be computed again over a resample of them.

    Attributes:
        name: what is measured.
        statistic: its value over drawn episodes; on the full set it is ``value``.
        episodes: how many episodes the columns hold.
        count: how many units the value is over.
        over: the units.
        left_out: how many units were left out because the metric says nothing about them.
        reason: why the value is undefined, should it be.
        note: what else must be known.
    """

    name: str
    statistic: Statistic
    episodes: int
    count: int
    over: str
    left_out: int = 0
    reason: str = ""
    note: str = ""

    @cached_property
    def value(self) -> float | None:
        """The metric over all episodes, or None when it is undefined."""
        return self.statistic(np.arange(self.episodes)) if self.episodes else None

    @property
    def metric(self) -> Metric:
        """The result without an interval."""
        missing = self.value is None
        return Metric(
            name=self.name,
            value=self.value,
            count=self.count,
            over=self.over,
            left_out=self.left_out,
            why=(self.reason if self.episodes else "there are no episodes") if missing else "",
            note=self.note,
        )
