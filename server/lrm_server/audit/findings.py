"""What a check finds: measures held to thresholds, a verdict, and a sentence."""

from __future__ import annotations

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
        verdict: pass, warn or fail.
    """

    name: str
    meaning: str
    unit: str
    figure: Metric
    limit: Limit
    verdict: Verdict


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
    thresholds: Thresholds, name: str, meaning: str, figure: Metric, unit: str = ""
) -> Measure:
    """Holds a figure to its thresholds.

    Raises:
        NotComputableError: the figure has no value.
    """
    limit = thresholds.measures[name]
    return Measure(name, meaning, unit, figure, limit, _judge(limit, figure))


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of some verdicts, a figure that failed counting more than one that is missing."""
    order = (Verdict.PASS, Verdict.WARN, Verdict.NOT_COMPUTABLE, Verdict.FAIL)
    return max(verdicts, key=order.index)


def too_wide(found: Measure) -> bool:
    """Whether a measure falls short by its interval alone: more episodes may mend it."""
    value = found.figure.value
    good = value is not None and _compare(found.limit, value) is Verdict.PASS
    return good and found.verdict is not Verdict.PASS


def _judge(limit: Limit, figure: Metric) -> Verdict:
    end = {"figure": figure.value, "low": figure.low, "high": figure.high}[limit.judged]
    judged = figure.value if end is None else end
    if judged is None:
        raise NotComputableError(figure.why)
    verdict = _compare(limit, judged)
    good = figure.value is not None and _compare(limit, figure.value) is Verdict.PASS
    if verdict is Verdict.FAIL and good:
        # A good figure whose interval is bad is too little evidence, which convicts nobody.
        raise NotComputableError(
            f"{figure.value:.2f} may be {judged:.2f} by its interval, and the limit is "
            f"{limit.fail}: too few episodes to tell"
        )
    return verdict


def _compare(limit: Limit, number: float) -> Verdict:
    for threshold, verdict in ((limit.fail, Verdict.FAIL), (limit.warn, Verdict.WARN)):
        if threshold is None:
            continue
        # A lower bound that is only reached is not kept: an accuracy of one half is a coin.
        if number > threshold if limit.worse == "above" else number <= threshold:
            return verdict
    return Verdict.PASS
