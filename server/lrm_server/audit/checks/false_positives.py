"""Failures that are called done, or paid as successes are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from lrm_server.audit.checks.common import (
    collect,
    enough,
    failures,
    mean_of,
    need_head,
    share_of,
)
from lrm_server.audit.checks.timing import FINISHED_STAGE
from lrm_server.audit.evidence import Evidence, Trace
from lrm_server.audit.findings import (
    Details,
    Finding,
    Measure,
    Verdict,
    estimate,
    measure,
)
from lrm_server.audit.thresholds import Thresholds

NAME = "false positives"
QUESTION = "Are failures called done or paid as successes, above all those that end near the goal?"
LAST_STAGE = 0.95
"""True progress that rounds to the stage of a finished task: to say 1.0 of it is no error."""

End = tuple[Trace, bool]
"""A failure, and whether its last frame is called done."""
Paid = tuple[str, bool, float]
"""An episode's task, whether it succeeded, and the progress that its last frame is given."""


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Failures called done at their end and on their way, by each head, and paid like successes."""
    need_head(evidence, "completion", "progress")
    goal = thresholds["near_goal"]
    by_completion = "completion" in evidence.heads
    caller = "completion" if by_completion else "progress"
    ends = _ends(evidence, thresholds, caller)
    near = [(t, called) for t, called in ends if t.truth is not None and t.truth[-1] >= goal]

    def share(name: str, meaning: str, some: Sequence[End], what: str) -> Measure:
        enough(some, what, evidence, thresholds, "progress" if name == "near" else "success")
        figure = share_of(name, [called for _, called in some])
        return measure(thresholds, f"false_positives.{name}", meaning, figure)

    def of_frames() -> Measure:
        need_head(evidence, "completion")
        groups = _frames(evidence, thresholds)
        what = "labelled failures with unfinished frames that were answered"
        enough(groups, what, evidence, thresholds, "success")
        meaning = "unfinished frames of failures that completion calls done"
        return measure(thresholds, "false_positives.frames", meaning, mean_of("frames", groups))

    def of_progress() -> Measure:
        return share(
            "progress",
            "failures that progress puts at 1.0 at the end",
            _ends(evidence, thresholds, "progress"),
            "labelled failures with answers of progress",
        )

    wanted = [
        lambda: share("all", f"failures that {caller} calls done at the end", ends, _FAILURES),
        lambda: share(
            "near",
            f"the same, of failures that end at a true progress of {goal} or more",
            near,
            f"failures that end at a true progress of {goal} or more",
        ),
    ]
    if by_completion:
        wanted.append(of_frames)
    if by_completion and "progress" in evidence.heads:
        wanted.append(of_progress)
    if "progress" in evidence.heads:
        wanted.append(lambda: _ranking(evidence, thresholds))
    enough(ends, _FAILURES, evidence, thresholds, "success")
    measures, verdict, missing = collect(*wanted)
    figures = {m.name: m.figure.value or 0.0 for m in measures}
    sentence = f"{_count(ends)} failures are called done at their end"
    if near:
        sentence += f", {_count(near)} of those near the goal"
    if "false_positives.frames" in figures:
        sentence += f"; {figures['false_positives.frames']:.0%} of their frames are"
    if "false_positives.progress" in figures:
        sentence += f"; progress puts {figures['false_positives.progress']:.0%} at 1.0 at the end"
    if "false_positives.ranking" in figures:
        share_right = figures["false_positives.ranking"]
        sentence += f"; in {share_right:.0%} of the cases a success ends with more than a failure"
    advice = {
        Verdict.FAIL: "A policy would learn to fail in the way that is paid for.",
        Verdict.WARN: "Check the end state by other means where one can, or raise the threshold.",
    }
    called = tuple(
        (t.episode, t.task, None if t.truth is None else float(t.truth[-1]))
        for t, called in ends
        if called
    )
    tables = (Details("Failures called done", ("episode", "task", "true progress"), called),)
    return Finding(
        NAME, QUESTION, verdict, f"{sentence}.{missing}", advice.get(verdict, ""), measures, tables
    )


_FAILURES = "labelled failures with answers"


def _ends(evidence: Evidence, thresholds: Thresholds, head: str) -> list[End]:
    """Failures whose last frame was answered; by progress, those that truly lack a stage."""
    if head == "completion":
        threshold = thresholds["called_score"]
        ends = [(trace, float(trace.completion[-1])) for trace in failures(evidence)]
    else:
        threshold = FINISHED_STAGE
        ends = [
            (trace, float(trace.stage[-1]))
            for trace in failures(evidence)
            if trace.truth is None or trace.truth[-1] < LAST_STAGE
        ]
    return [(trace, score >= threshold) for trace, score in ends if np.isfinite(score)]


def _frames(evidence: Evidence, thresholds: Thresholds) -> list[list[float]]:
    """Of each failure, 1 for an unfinished frame that completion calls done, 0 for another."""
    groups = []
    for trace in failures(evidence):
        if trace.done is not None:
            there = np.isfinite(trace.completion) & ~trace.done
            called = trace.completion[there] >= thresholds["called_score"]
            groups.append(called.astype(float).tolist())
    return [group for group in groups if group]


def _ranking(evidence: Evidence, thresholds: Thresholds) -> Measure:
    """Whether a success ends with more progress than a failure at its task; a tie is a half."""
    paid: list[Paid] = [
        (trace.task, trace.success, float(trace.progress[-1]))
        for trace in evidence.traces
        if trace.success is not None and np.isfinite(trace.progress[-1])
    ]
    for success, name in ((True, "successes"), (False, "failures")):
        what = f"labelled {name} whose last progress is answered"
        enough([p for p in paid if p[1] is success], what, evidence, thresholds, "success")
    meaning = "pairs of a success and a failure in which the success ends with more progress"
    figure = estimate("ranking", paid, _in_order)
    return measure(thresholds, "false_positives.ranking", meaning, figure)


def _in_order(paid: Sequence[Paid]) -> float | None:
    """The share of pairs in order; None where no task has a success and a failure."""
    ends: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for task, success, progress in paid:
        ends[task][success].append(progress)
    signs = [
        np.sign(np.subtract.outer(good, bad)).ravel() for bad, good in ends.values() if good and bad
    ]
    return float((np.concatenate(signs).mean() + 1) / 2) if signs else None


def _count(ends: Sequence[End]) -> str:
    return f"{sum(called for _, called in ends)} of {len(ends)}"
