"""The checks of an audit, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from lrm_server.audit.checks import (
    calibration,
    consistency,
    correlation,
    false_positives,
    plateaus,
    sensitivity,
    timing,
    words,
)
from lrm_server.audit.evidence import Evidence
from lrm_server.audit.findings import Finding, NotComputableError, Verdict
from lrm_server.audit.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: as findings carry it.
        question: what it answers.
        run: the finding; raises NotComputableError where there is none.
        essential_for: heads whose use is not to be acquitted without this check's figures.
    """

    name: str
    question: str
    run: Callable[[Evidence, Thresholds], Finding]
    essential_for: frozenset[str] = frozenset()


_DONE: Final = frozenset({"completion", "progress"})

CHECKS: Final = (
    Check(timing.NAME, timing.QUESTION, timing.check, _DONE),
    Check(false_positives.NAME, false_positives.QUESTION, false_positives.check, _DONE),
    Check(plateaus.NAME, plateaus.QUESTION, plateaus.check),
    Check(correlation.NAME, correlation.QUESTION, correlation.check, frozenset({"progress"})),
    Check(
        correlation.DIRECTION,
        correlation.DIRECTION_QUESTION,
        correlation.check_direction,
        frozenset({"contrastive"}),
    ),
    Check(calibration.NAME, calibration.QUESTION, calibration.check),
    Check(consistency.SWAP, consistency.SWAP_QUESTION, consistency.check_swap),
    Check(sensitivity.NAME, sensitivity.QUESTION, sensitivity.check),
    Check(words.PARAPHRASES, words.PARAPHRASES_QUESTION, words.check_paraphrases),
    Check(words.WRONG, words.WRONG_QUESTION, words.check_wrong_task),
    Check(consistency.LABELS, consistency.LABELS_QUESTION, consistency.check_labels),
    Check(consistency.READOUTS, consistency.READOUTS_QUESTION, consistency.check_readouts),
)


def run_checks(evidence: Evidence, thresholds: Thresholds) -> list[Finding]:
    """A finding of each check; one that cannot be computed says why."""
    return [_run(check, evidence, thresholds) for check in CHECKS]


def _run(check: Check, evidence: Evidence, thresholds: Thresholds) -> Finding:
    try:
        return _with_undecided(check.run(evidence, thresholds))
    except NotComputableError as error:
        return Finding(
            check.name, check.question, Verdict.NOT_COMPUTABLE, f"Not computable: {error}."
        )


def _with_undecided(finding: Finding) -> Finding:
    """The finding with what too few episodes leave open said in it."""
    undecided = "; ".join(f"{m.meaning}, {m.why}" for m in finding.measures if m.why)
    if not undecided:
        return finding
    advice = "Record more episodes." if finding.verdict is Verdict.NOT_COMPUTABLE else None
    return replace(
        finding,
        sentence=f"{finding.sentence} Not decided: {undecided}.",
        advice=finding.advice if advice is None else advice,
    )
