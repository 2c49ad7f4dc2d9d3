"""All findings together: may one train on this model?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from lrm_server.audit.checks import CHECKS
from lrm_server.audit.evidence import Evidence
from lrm_server.audit.findings import Finding, Verdict
from lrm_server.audit.thresholds import Thresholds
from lrm_server.evaluation.asking import MODEL_CODES


class Overall(str, Enum):
    """The answer of an audit."""

    TRAIN = "train"
    WITH_CARE = "train with care"
    DO_NOT_TRAIN = "do not train"
    NOT_DECIDED = "not decided"


EXIT_STATUS = {
    Overall.TRAIN: 0,
    Overall.WITH_CARE: 0,
    Overall.DO_NOT_TRAIN: 3,
    Overall.NOT_DECIDED: 4,
}
"""Of the command, for scripts; 1 is an audit that could not run, 2 a wrong use of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, the checks that it rests on, and a paragraph to act upon."""

    overall: Overall
    reasons: tuple[str, ...]
    paragraph: str


def decide(findings: Sequence[Finding], evidence: Evidence, thresholds: Thresholds) -> Decision:
    """The decision on a model.

    Too many questions that did not reach the model decide nothing, since what was answered is a
    selection; those that the model did not answer are its own fault, and a check's. A check that
    failed convicts, whatever else is missing. Without a conviction, a check that is essential to a
    head that was asked and that could not be computed leaves the question open: nobody is
    acquitted for want of evidence. Another one with figures that too few episodes leave open is
    a reason for care.
    """
    by_verdict = {v: [f for f in findings if f.verdict is v] for v in Verdict}
    failures = evidence.failures
    if not failures.asked or failures.lost_share > thresholds["failed_share"]:
        return _unanswered(evidence, thresholds)
    if convicting := by_verdict[Verdict.FAIL]:
        return _decision(Overall.DO_NOT_TRAIN, convicting, by_verdict[Verdict.WARN])
    essential = {c.name for c in CHECKS if c.essential_for & set(evidence.heads)}
    missing = [f for f in by_verdict[Verdict.NOT_COMPUTABLE] if f.check in essential]
    if missing:
        return _decision(Overall.NOT_DECIDED, missing, by_verdict[Verdict.WARN])
    if warnings := [f for f in findings if f.verdict is Verdict.WARN or _open(f)]:
        return _decision(Overall.WITH_CARE, warnings, [])
    return _decision(Overall.TRAIN, [], [])


_OPENING = {
    Overall.TRAIN: "You may train on this model in this scene: no check found anything.",
    Overall.WITH_CARE: "You may train on this model in this scene, with care.",
    Overall.DO_NOT_TRAIN: "Do not train on this model in this scene.",
    Overall.NOT_DECIDED: "Whether you may train on this model cannot be decided on this evidence.",
}


def _decision(overall: Overall, decisive: Sequence[Finding], also: Sequence[Finding]) -> Decision:
    said = [_OPENING[overall], *(_said(finding) for finding in decisive)]
    if also:
        said += ["Beyond that:", *(_said(finding) for finding in also)]
    return Decision(overall, tuple(f.check for f in decisive), " ".join(said))


def _open(finding: Finding) -> bool:
    return finding.verdict is Verdict.NOT_COMPUTABLE and bool(finding.measures)


def _said(finding: Finding) -> str:
    title = finding.check[:1].upper() + finding.check[1:]
    return f"{title}: {finding.sentence} {finding.advice}".rstrip()


def _unanswered(evidence: Evidence, thresholds: Thresholds) -> Decision:
    failures = evidence.failures
    if not failures.asked:
        text = "Nothing could be asked: no episode has two frames."
    else:
        lost = failures.failed - failures.unanswered
        code = next(code for code in failures.reasons if code not in MODEL_CODES)
        text = (
            f"{lost} of {failures.asked} questions ({failures.lost_share:.0%}) did not reach the "
            f"model or came back too late, and {thresholds['failed_share']:.0%} may. Mostly: "
            f"{code}, as in: {failures.examples.get(code, code)}"
        )
    return Decision(
        Overall.NOT_DECIDED, ("failed questions",), f"{_OPENING[Overall.NOT_DECIDED]} {text}"
    )
