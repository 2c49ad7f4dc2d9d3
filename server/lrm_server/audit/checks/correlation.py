"""Whether progress follows the true progress, and contrastive its direction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from lrm_server.audit.checks.common import collect, enough, mean_of, need_head
from lrm_server.audit.evidence import Evidence, Floats, Pair, Trace
from lrm_server.audit.findings import (
    Details,
    Finding,
    Measure,
    NotComputableError,
    Verdict,
    estimate,
    measure,
    too_wide,
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
ASSUMED = (
    "No progress is labelled and that of successes is taken to be time, which a clock follows too: "
    "label progress, or audit the other heads alone (--head)."
)
RECORD_MORE = "The figure is good and its interval wide: record more episodes."


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Within episodes; over all frames of failures, which a clock does not follow; and the error.

    Where no progress was recorded, that of successes is time itself: it may convict, and leaves
    the check open otherwise.
    """
    need_head(evidence, "progress")
    rows, assumed = _rows(evidence, thresholds)
    enough(rows, "episodes whose labelled progress moves", evidence, thresholds, "progress")
    failed = _answered(t for t in evidence.traces if t.labelled and t.success is False)
    labelled = _answered(t for t in evidence.traces if t.labelled)

    def within(name: str, coefficient: Coefficient) -> Measure:
        meaning = f"{name} within an episode, mean"
        limit = f"correlation.{name.casefold()}"
        return measure(thresholds, limit, meaning, _mean_within(limit, rows, coefficient))

    def over_failures() -> Measure:
        enough(failed, "failures with answers and labelled progress", evidence, thresholds)
        if np.ptp(np.concatenate([truth for truth, _ in failed])) < thresholds["least_range"]:
            raise NotComputableError("the true progress of the failures hardly differs")
        figure = estimate("failures", failed, lambda some: _of_all(some, pearson) or 0.0)
        meaning = "Pearson over all frames of failures"
        return measure(thresholds, "correlation.failures", meaning, figure)

    def error() -> Measure:
        groups = [np.abs(truth - progress).tolist() for truth, progress in labelled]
        figure = mean_of("error", groups, flags=False)
        return measure(thresholds, "correlation.error", "mean absolute error", figure)

    wanted = [lambda: within("Pearson", pearson), lambda: within("Spearman", spearman)]
    if not assumed:
        wanted += [over_failures, error]
    measures, verdict, missing = collect(*wanted)
    sentence = (
        f"Within an episode progress correlates with the true progress by "
        f"{' and '.join(f'{_interval(m.figure)} ({m.meaning.split()[0]})' for m in measures[:2])}, "
        f"over {len(rows)} episodes{_beyond(measures)}.{missing}"
    )
    if any(m.figure.low is not None and m.figure.low <= 0 for m in measures):
        sentence += " The interval includes 0: it cannot be told from noise."
    advice = {
        Verdict.FAIL: "Do not reward by progress: it says little about how far the task is.",
        Verdict.WARN: "Smooth it over steps, or use it beside another head.",
    }
    if verdict is Verdict.WARN and all(too_wide(m) for m in measures if m.verdict is verdict):
        advice[verdict] = RECORD_MORE
    if assumed:
        verdict, sentence = _unless_convicted(verdict), f"{sentence} {ASSUMED}"
    table = _pooled_table({"all episodes": rows, "failures": failed})
    return Finding(NAME, QUESTION, verdict, sentence, advice.get(verdict, ""), measures, (table,))


def check_direction(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Right answers over both orders of pairs whose truth differs, and of those in which it falls.

    Ties are wrong. A model that calls the later frame better is right about every rise.
    """
    need_head(evidence, "contrastive")
    recorded = [pair for pair in evidence.pairs if pair.rise is not None and not pair.assumed]
    assumed = len({p.episode for p in recorded}) < thresholds["least_episodes"] and any(
        pair.assumed for pair in evidence.pairs
    )
    pairs = list(evidence.pairs) if assumed else recorded
    groups = _right(pairs)
    what = "episodes with pairs of different true progress"
    enough(groups, what, evidence, thresholds, "progress")
    figure = mean_of("accuracy", groups)

    def accuracy() -> Measure:
        meaning = "pairs in both orders that are judged right"
        return measure(thresholds, "direction.accuracy", meaning, figure, episodes=len(groups))

    def falling() -> Measure:
        falls = _right([pair for pair in pairs if (pair.rise or 0.0) < 0])
        enough(falls, "episodes in which the true progress falls", evidence, thresholds)
        meaning = "the same, of pairs in which the truth falls"
        found = mean_of("falling", falls)
        return measure(thresholds, "direction.falling", meaning, found, episodes=len(falls))

    measures, verdict, missing = collect(*([accuracy] if assumed else [accuracy, falling]))
    sentence = (
        f"Contrastive names the frame that is further in {_interval(figure)} of "
        f"{sum(map(len, groups))} questions"
    )
    if len(measures) > 1:
        sentence += f", and in {_interval(measures[1].figure)} where the later one is behind"
    sentence += f"; a coin would in 0.5.{missing}"
    wide = all(too_wide(m) for m in measures if m.verdict is verdict)
    advice = {
        Verdict.FAIL: "Do not reward by contrastive: it does not see which frame is further."
        if measures[0].verdict is Verdict.FAIL
        else "Do not reward by contrastive: it takes the later frame for the better one.",
        Verdict.WARN: RECORD_MORE
        if wide
        else "Ask both orders (swap), and compare frames that are further apart.",
    }
    if assumed:
        verdict, sentence = _unless_convicted(verdict), f"{sentence} {ASSUMED}"
    return Finding(
        DIRECTION, DIRECTION_QUESTION, verdict, sentence, advice.get(verdict, ""), measures
    )


def _unless_convicted(verdict: Verdict) -> Verdict:
    return verdict if verdict is Verdict.FAIL else Verdict.NOT_COMPUTABLE


def _right(pairs: Iterable[Pair]) -> list[list[float]]:
    """Of each episode, 1 for an answer that names the right frame and 0 for another."""
    groups: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        for answer, rise in ((pair.forward, 1.0), (pair.backward, -1.0)):
            if pair.rise is not None and answer.value is not None:
                groups[pair.episode].append(float(answer.value * pair.rise * rise > 0))
    return list(groups.values())


def _rows(evidence: Evidence, thresholds: Thresholds) -> tuple[list[Row], bool]:
    """Rows of episodes whose truth moves, and whether that is assumed for want of labels."""

    def moving(traces: Iterable[Trace]) -> list[Row]:
        return [
            (truth, progress)
            for truth, progress in _answered(traces)
            if len(truth) >= LEAST_FRAMES and np.ptp(truth) >= thresholds["least_range"]
        ]

    recorded = moving(t for t in evidence.traces if t.labelled)
    assumed = moving(t for t in evidence.traces if t.assumed)
    if len(recorded) >= thresholds["least_episodes"] or not assumed:
        return recorded, False
    return [*recorded, *assumed], True


def _answered(traces: Iterable[Trace]) -> list[Row]:
    """Rows of the frames that were answered, of episodes that have some."""
    rows: list[Row] = []
    for trace in traces:
        there = np.isfinite(trace.progress)
        if trace.truth is not None and there.any():
            rows.append((trace.truth[there], trace.progress[there]))
    return rows


def _beyond(measures: Sequence[Measure]) -> str:
    """The other figures in words."""
    figures = {m.name: m.figure for m in measures}
    said = ""
    if "correlation.failures" in figures:
        said += f"; over all frames of failures by {_interval(figures['correlation.failures'])}"
    if "correlation.error" in figures:
        said += f"; it is off by {figures['correlation.error'].value:.2f} in the mean"
    return said


def _mean_within(name: str, rows: Sequence[Row], coefficient: Coefficient) -> Metric:
    # The truth moves in every row, so an undefined coefficient is a model that says one thing
    # throughout: it follows nothing.
    values = [coefficient(*row) or 0.0 for row in rows]
    return estimate(name, values, lambda some: float(np.mean(some)))


def _of_all(rows: Sequence[Row], coefficient: Coefficient) -> float | None:
    truth, progress = (np.concatenate([row[side] for row in rows]) for side in (0, 1))
    return coefficient(truth, progress)


def _pooled_table(groups: Mapping[str, Sequence[Row]]) -> Details:
    columns = ("over", "Pearson", "low", "high", "Spearman", "low", "high", "episodes")
    return Details(
        "All frames pooled",
        columns,
        tuple(
            (over, *_pooled(some, pearson), *_pooled(some, spearman), len(some))
            for over, some in groups.items()
        ),
    )


def _pooled(rows: Sequence[Row], coefficient: Coefficient) -> tuple[float | None, ...]:
    if not rows:
        return (None, None, None)
    try:
        metric = estimate("pooled", rows, lambda some: _of_all(some, coefficient))
    except NotComputableError:
        return (None, None, None)
    return (metric.value, metric.low, metric.high)


def _interval(metric: Metric) -> str:
    between = "" if metric.low is None else f" ({metric.low:.2f} to {metric.high:.2f})"
    return f"{metric.value:.2f}{between}"
