"""Whether progress follows the true progress, and contrastive its direction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from lrm_server.audit.checks.common import collect, enough, mean_of, need_head
from lrm_server.audit.evidence import Evidence, Floats
from lrm_server.audit.findings import (
    Details,
    Finding,
    Measure,
    NotComputableError,
    Verdict,
    estimate,
    measure,
    too_wide,
    worst,
)
from lrm_server.audit.thresholds import Thresholds
from lrm_server.evaluation.metrics.correlation import pearson, spearman
from lrm_server.evaluation.metrics.result import Metric

NAME = "correlation"
QUESTION = "Does progress follow the true progress?"
DIRECTION = "direction"
DIRECTION_QUESTION = "Does contrastive say which of two frames is further?"

Row = tuple[Floats, Floats]
"""True progress and answered progress, float64 (F,) each."""
Coefficient = Callable[[Floats, Floats], float | None]
LEAST_FRAMES = 3
"""Two frames correlate perfectly or not at all."""
RECORD_MORE = "The figure is good and its interval wide: record more episodes."


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Pearson and Spearman within episodes and pooled over them."""
    need_head(evidence, "progress")
    rows, failed = _rows(evidence, thresholds["least_range"])
    enough(rows, "episodes whose labelled progress moves", evidence, thresholds)

    def within(name: str, coefficient: Coefficient) -> Measure:
        meaning = f"{name} within an episode, mean"
        limit = f"correlation.{name.casefold()}"
        return measure(thresholds, limit, meaning, _mean_within(limit, rows, coefficient))

    measures, missing = collect(
        lambda: within("Pearson", pearson), lambda: within("Spearman", spearman)
    )
    groups = {"all episodes": rows, "failures": failed}
    table = Details(
        "All frames pooled",
        ("over", "Pearson", "low", "high", "Spearman", "low", "high", "episodes"),
        tuple(
            (over, *_pooled(some, pearson), *_pooled(some, spearman), len(some))
            for over, some in groups.items()
        ),
    )
    verdict = worst([m.verdict for m in measures])
    figures = " and ".join(f"{_interval(m.figure)} ({m.meaning.split()[0]})" for m in measures)
    sentence = (
        f"Within an episode progress correlates with the true progress by {figures}, over "
        f"{len(rows)} episodes.{missing}"
    )
    if any(m.figure.low is not None and m.figure.low <= 0 for m in measures):
        sentence += " The interval includes 0: it cannot be told from noise."
    advice = {
        Verdict.FAIL: "Do not reward by progress: it says little about how far the task is.",
        Verdict.WARN: "Smooth it over steps, or use it beside another head.",
    }
    if verdict is Verdict.WARN and all(too_wide(m) for m in measures if m.verdict is verdict):
        advice[verdict] = RECORD_MORE
    return Finding(NAME, QUESTION, verdict, sentence, advice.get(verdict, ""), measures, (table,))


def check_direction(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Share of right answers over both orders of pairs whose truth differs; ties are wrong."""
    need_head(evidence, "contrastive")
    groups: dict[str, list[float]] = defaultdict(list)
    for pair in evidence.pairs:
        for answer, rise in ((pair.forward, 1.0), (pair.backward, -1.0)):
            if pair.rise is not None and answer.value is not None:
                groups[pair.episode].append(float(answer.value * pair.rise * rise > 0))
    enough(list(groups), "episodes with pairs of different true progress", evidence, thresholds)
    figure = mean_of("direction.accuracy", groups.values())
    found = measure(
        thresholds, "direction.accuracy", "pairs in both orders that are judged right", figure
    )
    sentence = (
        f"Contrastive names the frame that is further in {_interval(figure)} of "
        f"{sum(map(len, groups.values()))} questions; a coin would in 0.5."
    )
    verdict = found.verdict
    advice = {
        Verdict.FAIL: "Do not reward by contrastive: it is a coin here.",
        Verdict.WARN: RECORD_MORE
        if too_wide(found)
        else "Ask both orders (swap), and compare frames that are further apart.",
    }
    return Finding(
        DIRECTION, DIRECTION_QUESTION, verdict, sentence, advice.get(verdict, ""), (found,)
    )


def _rows(evidence: Evidence, least: float) -> tuple[list[Row], list[Row]]:
    """Rows of all episodes whose truth moves, and of the failures among them."""
    rows: list[Row] = []
    failed: list[Row] = []
    for trace in evidence.traces:
        if trace.truth is None:
            continue
        there = np.isfinite(trace.progress)
        truth, progress = trace.truth[there], trace.progress[there]
        if len(truth) < LEAST_FRAMES or np.ptp(truth) < least:
            continue
        rows.append((truth, progress))
        if trace.success is False:
            failed.append(rows[-1])
    return rows, failed


def _mean_within(name: str, rows: Sequence[Row], coefficient: Coefficient) -> Metric:
    # The truth moves in every row, so an undefined coefficient is a model that says one thing
    # throughout: it follows nothing.
    values = [coefficient(*row) or 0.0 for row in rows]
    return estimate(name, values, lambda some: float(np.mean(some)))


def _pooled(rows: Sequence[Row], coefficient: Coefficient) -> tuple[float | None, ...]:
    def statistic(some: Sequence[Row]) -> float | None:
        truth = np.concatenate([row[0] for row in some])
        return coefficient(truth, np.concatenate([row[1] for row in some]))

    try:
        metric = estimate("pooled", rows, statistic)
    except NotComputableError:
        return (None, None, None)
    return (metric.value, metric.low, metric.high)


def _interval(metric: Metric) -> str:
    between = "" if metric.low is None else f" ({metric.low:.2f} to {metric.high:.2f})"
    return f"{metric.value:.2f}{between}"
