"""All findings together."""

from __future__ import annotations

import pytest

from lrm_server.audit.checks import CHECKS
from lrm_server.audit.evidence import Failures
from lrm_server.audit.findings import Finding, Measure, Verdict
from lrm_server.audit.verdict import EXIT_STATUS, Decision, Overall, decide
from lrm_server.evaluation.metrics.result import Metric
from tests.audit.builders import HEADS, SHIPPED, evidence


def decided(
    changed: dict[str, Verdict], heads: tuple[str, ...] = HEADS, failures: Failures | None = None
) -> Decision:
    """The decision where every check passes but for some."""
    findings = [
        Finding(
            check.name,
            check.question,
            changed.get(check.name, Verdict.PASS),
            f"Sentence of {check.name}.",
            f"Advice of {check.name}.",
        )
        for check in CHECKS
    ]
    return decide(findings, evidence(heads=heads, failures=failures or Failures(100)), SHIPPED)


def test_nothing_found() -> None:
    found = decided({})
    assert found.overall is Overall.TRAIN
    assert found.reasons == ()


def test_warnings_are_the_reasons_for_care() -> None:
    found = decided({"swap": Verdict.WARN, "sensitivity": Verdict.WARN})
    assert found.overall is Overall.WITH_CARE
    assert found.reasons == ("swap", "sensitivity")
    assert "Swap: Sentence of swap. Advice of swap." in found.paragraph
    assert "timing" not in found.paragraph


@pytest.mark.parametrize("check", [check.name for check in CHECKS])
def test_any_failed_check_convicts(check: str) -> None:
    found = decided({check: Verdict.FAIL})
    assert found.overall is Overall.DO_NOT_TRAIN
    assert found.reasons == (check,)


def test_a_conviction_names_the_warnings_after_its_reasons() -> None:
    found = decided({"timing": Verdict.WARN, "calibration": Verdict.FAIL})
    assert found.reasons == ("calibration",)
    paragraph = found.paragraph
    assert paragraph.index("Sentence of calibration") < paragraph.index("Beyond that")
    assert paragraph.index("Beyond that") < paragraph.index("Sentence of timing")


@pytest.mark.parametrize("check", ["timing", "false positives", "correlation", "direction"])
def test_nobody_is_acquitted_without_an_essential_check(check: str) -> None:
    found = decided({check: Verdict.NOT_COMPUTABLE})
    assert found.overall is Overall.NOT_DECIDED
    assert found.reasons == (check,)
    assert f"Sentence of {check}" in found.paragraph


def test_a_missing_check_beside_them_does_not_stop_a_verdict() -> None:
    assert decided({"readouts": Verdict.NOT_COMPUTABLE}).overall is Overall.TRAIN


def test_what_few_episodes_leave_open_is_a_reason_for_care() -> None:
    measure = Measure(
        "swap.contradictory",
        "",
        "",
        Metric("x", 0.1),
        SHIPPED.measures["swap.contradictory"],
        Verdict.NOT_COMPUTABLE,
        "too few",
    )
    left_open = Finding("swap", "", Verdict.NOT_COMPUTABLE, "Open.", measures=(measure,))
    found = decide([left_open], evidence(), SHIPPED)
    assert found.overall is Overall.WITH_CARE
    assert found.reasons == ("swap",)


def test_what_is_essential_depends_on_the_heads() -> None:
    missing = dict.fromkeys(("correlation", "direction"), Verdict.NOT_COMPUTABLE)
    assert decided(missing, heads=("completion",)).overall is Overall.TRAIN
    assert decided(missing, heads=("progress",)).overall is Overall.NOT_DECIDED
    assert decided(missing, heads=("contrastive",)).overall is Overall.NOT_DECIDED


def test_a_conviction_stands_whatever_else_is_missing() -> None:
    found = decided({"timing": Verdict.NOT_COMPUTABLE, "direction": Verdict.FAIL})
    assert found.overall is Overall.DO_NOT_TRAIN


def test_too_many_lost_questions_decide_nothing() -> None:
    failures = Failures(100, {"unreadable": 6}, {"unreadable": "frame 3 is missing"})
    found = decided({"timing": Verdict.FAIL}, failures=failures)
    assert found.overall is Overall.NOT_DECIDED
    assert "6 of 100 questions (6%) did not reach the model" in found.paragraph
    assert "frame 3 is missing" in found.paragraph
    assert decided({}, failures=Failures(100, {"unreadable": 5})).overall is Overall.TRAIN


def test_questions_that_the_model_did_not_answer_are_not_lost() -> None:
    """They are for the check of the labels to judge, which convicts."""
    silent = Failures(100, {"label_mass_low": 90, "unreadable": 5})
    found = decided({"label mass": Verdict.FAIL, "timing": Verdict.NOT_COMPUTABLE}, failures=silent)
    assert found.overall is Overall.DO_NOT_TRAIN


def test_nothing_asked_decides_nothing() -> None:
    assert decided({}, failures=Failures(0)).overall is Overall.NOT_DECIDED


def test_exit_statuses_tell_the_verdicts_apart() -> None:
    assert EXIT_STATUS == {
        Overall.TRAIN: 0,
        Overall.WITH_CARE: 0,
        Overall.DO_NOT_TRAIN: 3,
        Overall.NOT_DECIDED: 4,
    }
