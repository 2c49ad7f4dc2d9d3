"""Confidence intervals and differences between models, by resampling episodes.

The frames of an episode resemble each other, so the unit that is drawn is the episode, with all
its frames: a resample draws as many episodes as there are, with replacement (Efron 1979; the
cluster bootstrap). The interval is the percentile interval.

What the resamples cannot tell is not told. One episode has no spread. A statistic may be
undefined on some resamples (no failure was drawn): those are taken as beyond either end, which
can only widen the interval, and where they are more than the tails may hold there is none. (These,
and strata, are why it is not ``scipy.stats.bootstrap``.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np

from lrm_server.evaluation.metrics.columns import Floats
from lrm_server.evaluation.metrics.result import Drawn, Measurement, Metric, Statistic

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
SAME: Final = 1e-12
"""Difference, relative above 1, below which two sums are equal but for rounding."""

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval, or why there is none.

    Attributes:
        low: lower end, or None.
        high: upper end, or None.
        level: its nominal coverage.
        note: why there is no interval, or on how many resamples the statistic was undefined.
    """

    low: float | None
    high: float | None
    level: float
    note: str = ""


def with_interval(
    measurement: Measurement,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    strata: Sequence[Hashable] | None = None,
) -> Metric:
    """A measurement with its interval over episodes.

    Args:
        measurement: what a metric function returned.
        resamples: how many; 1,000 settle a 95 % interval to about two digits.
        level: nominal coverage, in (0, 1).
        seed: equal seeds give equal intervals.
        strata: one label an episode; each stratum is resampled by itself, so that its size
            stays. For averages over fixed subsets. A stratum of one episode cannot vary.

    Returns:
        the measurement's metric; ``low`` and ``high`` are None where there is no value or no
        interval, and ``note`` says why.
    """
    metric = measurement.metric
    if metric.value is None:
        return metric
    found = interval(
        measurement.statistic,
        measurement.episodes,
        resamples=resamples,
        level=level,
        seed=seed,
        strata=strata,
    )
    return _with(metric, found)


def difference(first: Measurement, second: Measurement) -> Measurement:
    """First minus second, of one metric on the same episodes in the same order.

    Each resample draws the same episodes for both, so what they have in common cancels. An
    interval without 0 tells the models apart at its level. Whether a positive difference is
    better is as for the metric itself.

    Raises:
        ValueError: different metrics, or different numbers of episodes.
    """
    if first.name != second.name:
        raise ValueError(f"{first.name} and {second.name} have no difference: measure one metric")
    if first.episodes != second.episodes:
        raise ValueError(
            f"{first.name} is over {first.episodes} and {second.episodes} episodes: keep those "
            "that both models answered"
        )

    def statistic(drawn: Drawn) -> float | None:
        a, b = first.statistic(drawn), second.statistic(drawn)
        return None if a is None or b is None else a - b

    missing = first.metric.why or second.metric.why
    return Measurement(
        name=f"{first.name}: difference",
        statistic=statistic,
        episodes=first.episodes,
        count=min(first.count, second.count),
        over=first.over,
        left_out=max(first.left_out, second.left_out),
        reason=f"one of the two has no value: {missing}",
        note="; ".join(dict.fromkeys(note for note in (first.note, second.note) if note)),
    )


def of_records(
    name: str, records: Sequence[Record], statistic: Callable[[Sequence[Record]], float | None]
) -> Measurement:
    """A measurement from any function of a list of per-episode records.

    Args:
        name: of the metric.
        records: one an episode.
        statistic: the value over some records, with repetition, or None where it is undefined.
    """
    return Measurement(
        name=name,
        statistic=lambda drawn: statistic([records[episode] for episode in drawn]),
        episodes=len(records),
        count=len(records),
        over="episodes",
        reason="undefined on these episodes",
    )


def interval(
    statistic: Statistic,
    episodes: int,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    strata: Sequence[Hashable] | None = None,
) -> Interval:
    """The percentile interval of a statistic of drawn episodes.

    Raises:
        ValueError: a level outside (0, 1), too few resamples for the level, or strata that are
            not one an episode.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} must lie between 0 and 1")
    if resamples * (1 - level) < 2:
        raise ValueError(f"{resamples} resamples are too few for a level of {level}")
    groups = _groups(episodes, strata)
    if max((len(group) for group in groups), default=0) < 2:
        one = "one episode" if strata is None else "one episode in each stratum"
        return Interval(None, None, level, f"no interval: {one} has no spread")
    random = np.random.default_rng(seed)
    values = [
        value
        for _ in range(resamples)
        if (value := statistic(_draw(random, groups))) is not None and math.isfinite(value)
    ]
    found = _percentiles(np.sort(values), resamples, level)
    single = sum(len(group) == 1 for group in groups)
    if not single or found.low is None:
        return found
    alone = f"{single} of {len(groups)} strata hold one episode and add no spread"
    return replace(found, note="; ".join(note for note in (found.note, alone) if note))


def _groups(episodes: int, strata: Sequence[Hashable] | None) -> list[Drawn]:
    if strata is None:
        return [np.arange(episodes)]
    if len(strata) != episodes:
        raise ValueError(f"{len(strata)} strata for {episodes} episodes: give one each")
    members: dict[Hashable, list[int]] = {}
    for episode, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(episode)
    return [np.asarray(group, dtype=np.intp) for group in members.values()]


def _draw(random: np.random.Generator, groups: Sequence[Drawn]) -> Drawn:
    return np.concatenate([group[random.integers(len(group), size=len(group))] for group in groups])


def _percentiles(values: Floats, resamples: int, level: float) -> Interval:
    """The ends of the interval; ``values`` ascend and lack the undefined resamples."""
    undefined = resamples - len(values)
    note = f"undefined on {undefined} of {resamples} resamples" if undefined else ""
    # The undefined count as below every value for the lower end, as above for the upper.
    tail = (resamples - 1) * (1 - level) / 2
    low, high = math.floor(tail) - undefined, math.ceil(resamples - 1 - tail)
    if low < 0 or high >= len(values):
        return Interval(None, None, level, f"no interval: {note}")
    if values[-1] - values[0] <= SAME * max(1.0, abs(values[0])):
        return Interval(
            None, None, level, f"no interval: every resample gives {values[0]:.6g}, without spread"
        )
    return Interval(float(values[low]), float(values[high]), level, note)


def _with(metric: Metric, found: Interval) -> Metric:
    return replace(
        metric,
        low=found.low,
        high=found.high,
        level=None if found.low is None else found.level,
        note="; ".join(note for note in (metric.note, found.note) if note),
    )
