"""What several checks need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from scipy.stats import binomtest

from lrm_server.audit.evidence import Comparison, Evidence, Floats, Trace
from lrm_server.audit.findings import (
    AbsentError,
    Measure,
    NotComputableError,
    Verdict,
    estimate,
    worst,
)
from lrm_server.audit.thresholds import Thresholds
from lrm_server.evaluation.metrics.bootstrap import LEVEL
from lrm_server.evaluation.metrics.result import Metric

T = TypeVar("T")
Label = Literal["success", "progress"]
"""What an episode may be labelled with."""


def need_head(evidence: Evidence, *heads: str) -> None:
    """Refuses where none of some heads was asked.

    Raises:
        AbsentError: none of them is among the evidence's heads.
    """
    if not set(heads) & set(evidence.heads):
        raise AbsentError(f"{' and '.join(heads)} was not asked")


def successes(evidence: Evidence) -> list[Trace]:
    """Traces that end in success, with the step at which they were done."""
    return [t for t in evidence.traces if t.success and t.done_step is not None]


def failures(evidence: Evidence) -> list[Trace]:
    """Traces that end in failure."""
    return [t for t in evidence.traces if t.success is False]


def enough(
    found: Sequence[T],
    what: str,
    evidence: Evidence,
    thresholds: Thresholds,
    needs: Label | None = None,
) -> None:
    """Refuses to compute from too few episodes, saying what is missing.

    Args:
        found: what there is.
        what: in words.
        evidence: where it was looked for.
        thresholds: ``least_episodes`` of them are needed.
        needs: the label that it rests on, if any.

    Raises:
        AbsentError: no episode has the label.
        NotComputableError: there are too few for another reason.
    """
    least = int(thresholds["least_episodes"])
    if len(found) >= least:
        return
    asked, failed = evidence.failures.asked, evidence.failures.failed
    if not evidence.traces:
        raise NotComputableError("no episode has two frames")
    if needs == "success" and all(trace.success is None for trace in evidence.traces):
        raise AbsentError(
            "no episode says whether it succeeded: label them with success, or done per frame"
        )
    if needs == "progress" and not any(trace.labelled for trace in evidence.traces):
        raise AbsentError("no episode says how far it is: label them with progress per frame")
    if failed > asked / 2:
        raise NotComputableError(f"{failed} of {asked} questions have no answer")
    raise NotComputableError(f"{len(found)} {what}, and it takes {least}: add some to the data set")


def called_at(scores: Floats, threshold: float, frames: int) -> int | None:
    """The first place from which scores stay at a threshold for so many frames, or to the end."""
    holds = scores >= threshold
    for place in range(len(holds)):
        if holds[place : place + frames].all():
            return place
    return None


def share_of(name: str, flags: Sequence[bool]) -> Metric:
    """Share of episodes for which something holds, with Wilson's interval.

    Wilson's says what none of thirty leaves possible, where resampling thirty times nothing does
    not.
    """
    if not flags:
        raise NotComputableError("there are no episodes")
    interval = binomtest(sum(map(bool, flags)), len(flags)).proportion_ci(LEVEL, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Metric(name, float(np.mean(flags)), low, high, LEVEL, len(flags), "episodes")


def mean_of(name: str, groups: Iterable[Sequence[float]], *, flags: bool = True) -> Metric:
    """Mean over all values, resampled by episode.

    Args:
        name: of the figure.
        groups: values of one episode each.
        flags: whether the values are 0 and 1.

    Raises:
        NotComputableError: there are no values.
    """
    records = [(float(np.sum(group)), len(group)) for group in groups if len(group)]

    def statistic(some: Sequence[tuple[float, int]]) -> float | None:
        count = sum(n for _, n in some)
        return sum(total for total, _ in some) / count if count else None

    found = estimate(name, records, statistic)
    if flags and found.low is None and found.value in (0.0, 1.0):
        # Always or never: resampling cannot tell how rare the other is, the episodes' number can.
        return replace(share_of(name, [bool(found.value)] * len(records)), count=found.count)
    return found


def by_episode(
    comparisons: Iterable[Comparison], read: Callable[[Comparison], float]
) -> list[list[float]]:
    """A number of each comparison, grouped by episode; those without answers are left out."""
    groups: dict[str, list[float]] = defaultdict(list)
    for comparison in comparisons:
        if comparison.answered:
            groups[comparison.episode].append(read(comparison))
    return list(groups.values())


class Collected(NamedTuple):
    """The measures of a check that can be taken.

    Attributes:
        measures: in order.
        verdict: their worst; no better than a warning where one is missing although its labels
            are there.
        missing: in words, which are missing and why; empty or a sentence after a space.
    """

    measures: tuple[Measure, ...]
    verdict: Verdict
    missing: str


def collect(*attempts: Callable[[], Measure]) -> Collected:
    """The measures that can be computed, and in words why others cannot.

    Raises:
        NotComputableError: none of them can be.
    """
    measures: list[Measure] = []
    missing: list[NotComputableError] = []
    for attempt in attempts:
        try:
            measures.append(attempt())
        except NotComputableError as error:  # noqa: PERF203 - a handful of measures
            missing.append(error)
    left_out = "; ".join(dict.fromkeys(map(str, missing)))
    absent = all(isinstance(error, AbsentError) for error in missing)
    if not measures:
        raise AbsentError(left_out) if absent else NotComputableError(left_out)
    verdict = worst([*(m.verdict for m in measures), Verdict.PASS if absent else Verdict.WARN])
    return Collected(tuple(measures), verdict, f" Left out: {left_out}." if left_out else "")
