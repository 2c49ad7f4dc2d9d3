"""Failures that are called done at their end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrm_server.audit.checks.common import collect, enough, failures, need_head, share_of
from lrm_server.audit.checks.timing import FINISHED_STAGE
from lrm_server.audit.evidence import Evidence, Trace
from lrm_server.audit.findings import Details, Finding, Measure, Verdict, measure, worst
from lrm_server.audit.thresholds import Thresholds

NAME = "false positives"
QUESTION = "Are failures called done at their end, above all those that end near the goal?"


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Share of failures whose last frame is called done; of all, and of those near the goal."""
    need_head(evidence, "completion", "progress")
    completion = "completion" in evidence.heads
    ends = [
        (trace, score >= (thresholds["called_score"] if completion else FINISHED_STAGE))
        for trace in failures(evidence)
        if np.isfinite(score := float((trace.completion if completion else trace.stage)[-1]))
    ]
    enough(ends, "labelled failures with answers", evidence, thresholds)
    goal = thresholds["near_goal"]
    near = [(t, called) for t, called in ends if t.truth is not None and t.truth[-1] >= goal]

    def all_failures() -> Measure:
        figure = share_of("false_positives.all", [called for _, called in ends])
        return measure(thresholds, "false_positives.all", "failures called done at the end", figure)

    def near_failures() -> Measure:
        what = f"failures that end at a true progress of {goal} or more"
        enough(near, what, evidence, thresholds)
        figure = share_of("false_positives.near", [called for _, called in near])
        meaning = f"the same, of failures that end at a true progress of {goal} or more"
        return measure(thresholds, "false_positives.near", meaning, figure)

    measures, missing = collect(all_failures, near_failures)
    verdict = worst([m.verdict for m in measures])
    sentence = f"{_count(ends)} failures are called done at their end"
    sentence += f"; {_count(near)} of those near the goal." if len(measures) > 1 else "."
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
        NAME, QUESTION, verdict, sentence + missing, advice.get(verdict, ""), measures, tables
    )


def _count(ends: Sequence[tuple[Trace, bool]]) -> str:
    return f"{sum(called for _, called in ends)} of {len(ends)}"
