"""What a check finds: measures held to thresholds, a verdict, and a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from lrm_server.audit.thresholds import Limit, Thresholds
from lrm_server.evaluation.metrics.bootstrap import of_records, with_interval
from lrm_server.evaluation.metrics.result import Metric

Record = TypeVar("Record")


class Verdict(str, Enum):
    """Of a measure or a check."""

    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"
    NOT_COMPUTABLE = "not computable"


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure and what it is held to.

    Attributes:
        name: of its entry in the thresholds.
        meaning: what it measures, in words.
        unit: of the figure; empty for a plain ratio or coefficient.
        figure: the number, with its interval where there is one.
        limit: its thresholds.
        verdict: pass, warn or fail; not computable where too few episodes leave it open.
        why: in words, why it is left open; empty otherwise.
    """

    name: str
    meaning: str
    unit: str
    figure: Metric
    limit: Limit
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True, slots=True)
class Details:
    """A table behind a check: what the measures were made from."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: the check's name.
        question: what it answers, in words.
        verdict: the worst of its measures'; not computable where an answer is missing.
        sentence: the finding in words, or why there is none.
        advice: what to do about it; empty where nothing is to be done.
        measures: the figures, with thresholds.
        details: tables behind them.
    """

    check: str
    question: str
    verdict: Verdict
    sentence: str
    advice: str = ""
    measures: tuple[Measure, ...] = ()
    details: tuple[Details, ...] = ()


class NotComputableError(Exception):
    """A check cannot be computed from the evidence; the message says why."""


class AbsentError(NotComputableError):
    """What would be judged is not there: the head was not asked, or no labels were recorded."""


def estimate(
    name: str, records: Sequence[Record], statistic: Callable[[Sequence[Record]], float | None]
) -> Metric:
    """A statistic of per-episode records, with its 95 % interval by bootstrap over them.

    Raises:
        NotComputableError: it is undefined on these records.
    """
    metric = with_interval(of_records(name, records, statistic))
    if metric.value is None:
        raise NotComputableError(metric.why)
    return metric


def measure(
    thresholds: Thresholds,
    name: str,
    meaning: str,
    figure: Metric,
    unit: str = "",
    episodes: int | None = None,
) -> Measure:
    """Holds a figure to its thresholds.

    Args:
        thresholds: where the limit is.
        name: of the limit.
        meaning: what it measures, in words.
        figure: the number, with its interval where there is one.
        unit: of the figure.
        episodes: how many the figure is over; its count when None.

    Raises:
        NotComputableError: the figure has no value.
    """
    limit = thresholds.measures[name]
    settled = int(thresholds["settled_episodes"])
    count = figure.count if episodes is None else episodes
    verdict, why = _judge(limit, figure, count, settled)
    return Measure(name, meaning, unit, figure, limit, verdict, why)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of some verdicts, a figure that failed counting more than one that is missing."""
    order = (Verdict.PASS, Verdict.WARN, Verdict.NOT_COMPUTABLE, Verdict.FAIL)
    return max(verdicts, key=order.index)


def too_wide(found: Measure) -> bool:
    """Whether a measure falls short by its interval alone: more episodes may mend it."""
    value = found.figure.value
    good = value is not None and _compare(found.limit, value) is Verdict.PASS
    return good and found.verdict is not Verdict.PASS


def _judge(limit: Limit, figure: Metric, episodes: int, settled: int) -> tuple[Verdict, str]:
    """The verdict, or not computable and why.

    One rule acquits and convicts: where the interval reaches across the limit to fail, few
    episodes decide nothing; many decide by the judged number, and pass with a warning at best.
    """
    value, low, high = figure.value, figure.low, figure.high
    if value is None:
        raise NotComputableError(figure.why)
    if low is None or high is None:
        return _compare(limit, value), ""
    verdict = _compare(limit, {"figure": value, "low": low, "high": high}[limit.judged])
    good, bad = (low, high) if limit.worse == "above" else (high, low)
    failing = [_compare(limit, number) is Verdict.FAIL for number in (good, bad)]
    if limit.fail is None or failing != [False, True]:
        return verdict, ""
    contradicted = verdict is Verdict.FAIL and _compare(limit, value) is Verdict.PASS
    if episodes >= settled and not contradicted:
        return worst([verdict, Verdict.WARN]), ""
    end = good if _compare(limit, value) is Verdict.FAIL else bad
    needed = _needed(episodes, value, end, limit.fail, settled)
    return Verdict.NOT_COMPUTABLE, (
        f"{value:.2f} may be {low:.2f} to {high:.2f} over {episodes} episodes, and the limit is "
        f"{limit.fail:g}: too few to tell, it takes about {needed}"
    )


def _needed(episodes: int, value: float, end: float, limit: float, settled: int) -> int:
    """How many episodes would bring an interval's end to a limit: it shrinks with their root."""
    if value == limit:
        return max(settled, episodes + 1)
    wanted = math.ceil(episodes * ((end - value) / (limit - value)) ** 2)
    return max(min(wanted, settled) if episodes < settled else wanted, episodes + 1)


def _compare(limit: Limit, number: float) -> Verdict:
    for threshold, verdict in ((limit.fail, Verdict.FAIL), (limit.warn, Verdict.WARN)):
        if threshold is None:
            continue
        # A lower bound that is only reached is not kept: an accuracy of one half is a coin.
        if number > threshold if limit.worse == "above" else number <= threshold:
            return verdict
    return Verdict.PASS
