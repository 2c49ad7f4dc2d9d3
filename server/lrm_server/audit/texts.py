"""Figures and thresholds as text, the same on the terminal and on the page."""

from __future__ import annotations

from lrm_server.audit.audit import Audit
from lrm_server.audit.findings import Measure


def figure_text(measure: Measure) -> str:
    """The figure with its interval."""
    figure = measure.figure
    value = number_text(figure.value)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{number_text(figure.low)}, {number_text(figure.high)}]"


def number_text(value: object) -> str:
    """A number or a word for a table; a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        # No -0.00.
        return f"{round(value, 2) + 0.0:.2f}"
    return str(value)


def threshold_text(measure: Measure) -> str:
    """What the figure is held to."""
    limit = measure.limit
    side = ">" if limit.worse == "above" else "<="
    end = {"figure": "", "low": "low end ", "high": "high end "}[limit.judged]
    parts = [
        f"{name} {side} {threshold:g}"
        for name, threshold in (("warn", limit.warn), ("fail", limit.fail))
        if threshold is not None
    ]
    return end + ", ".join(parts) if parts else "none"


def scope_text(audit: Audit) -> str:
    """What was asked, in one line."""
    evidence = audit.evidence
    asked = len(evidence.traces) + evidence.too_short
    ends = [trace.success for trace in evidence.traces]
    parts = [
        f"{asked} of {audit.available} episodes "
        f"({ends.count(True)} successes, {ends.count(False)} failures, "
        f"{ends.count(None)} unlabelled)",
        f"heads {', '.join(evidence.heads)}",
        f"{evidence.failures.asked} questions, {evidence.failures.failed} failed",
        f"seed {audit.budget.seed}",
    ]
    return "; ".join(parts)


def notes(audit: Audit) -> list[str]:
    """What else must be known: what was assumed, left out or unreadable."""
    evidence = audit.evidence
    found = [f"In {count} episodes {note}." for note, count in evidence.assumed.items()]
    if evidence.too_short:
        found.append(
            f"{evidence.too_short} episodes have a single frame: nothing is asked of them."
        )
    found += [f"Episode {name} cannot be read: {cause}" for name, cause in audit.unreadable]
    failures = evidence.failures
    found += [
        f"{count} questions failed with {code}, as in: {failures.examples.get(code, code)}"
        for code, count in failures.reasons.items()
    ]
    return found
