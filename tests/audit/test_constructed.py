"""The audit's own test: models whose faults are known, on the held-out episodes."""

from __future__ import annotations

from functools import lru_cache

import pytest

from lrm_client import Readout
from lrm_server.audit.audit import Audit, run_audit
from lrm_server.audit.constructed import ConstructedModel
from lrm_server.audit.findings import Finding, Verdict
from lrm_server.audit.plan import Plan
from lrm_server.audit.verdict import Overall
from lrm_server.evaluation.asking import Question
from tests.audit.builders import LINEAR, episode, value

SEEDS = range(3)


@lru_cache
def audited(plan: Plan, name: str, seed: int) -> Audit:
    return run_audit(ConstructedModel(name, seed), plan, data_set="held out", available=90)


def finding(audit: Audit, check: str) -> Finding:
    (found,) = (each for each in audit.findings if each.check == check)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_early_and_then_flat_is_convicted(plan: Plan, seed: int) -> None:
    audit = audited(plan, "early_then_flat", seed)
    assert audit.decision.overall is Overall.DO_NOT_TRAIN
    assert {"timing", "plateaus", "false positives"} <= set(audit.decision.reasons)
    assert value(finding(audit, "timing"), "timing.early") > 0.9
    assert value(finding(audit, "plateaus"), "plateau.saturation") == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_uncorrelated_is_convicted(plan: Plan, seed: int) -> None:
    audit = audited(plan, "uncorrelated", seed)
    assert audit.decision.overall is Overall.DO_NOT_TRAIN
    assert {"correlation", "direction"} <= set(audit.decision.reasons)
    assert "cannot be told from noise" in finding(audit, "correlation").sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_late_and_gradual_is_acquitted_with_its_lag_stated(plan: Plan, seed: int) -> None:
    audit = audited(plan, "late_and_gradual", seed)
    assert audit.decision.overall is Overall.WITH_CARE
    assert audit.decision.reasons == ("timing",)
    timing = finding(audit, "timing")
    assert timing.verdict is Verdict.WARN
    assert value(timing, "timing.lag") > 0.05
    assert "of the episode" in audit.decision.paragraph
    assert "late in the median" in audit.decision.paragraph
    assert "train with a longer horizon" in audit.decision.paragraph


@pytest.mark.parametrize("seed", SEEDS)
def test_the_oracle_is_acquitted_without_a_warning(plan: Plan, seed: int) -> None:
    audit = audited(plan, "oracle", seed)
    assert audit.decision.overall is Overall.TRAIN
    assert {each.verdict for each in audit.findings} == {Verdict.PASS}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_completion_that_always_says_yes_is_convicted(plan: Plan, seed: int) -> None:
    audit = audited(plan, "all_yes", seed)
    assert audit.decision.overall is Overall.DO_NOT_TRAIN
    assert {"timing", "false positives", "calibration"} <= set(audit.decision.reasons)
    assert finding(audit, "wrong task").verdict is Verdict.WARN
    assert finding(audit, "correlation").verdict is Verdict.PASS


@pytest.mark.parametrize("seed", SEEDS)
def test_going_by_time_is_convicted_although_success_is_seen(plan: Plan, seed: int) -> None:
    audit = audited(plan, "by_time", seed)
    assert audit.decision.overall is Overall.DO_NOT_TRAIN
    assert {"false positives", "correlation", "direction"} <= set(audit.decision.reasons)
    assert finding(audit, "timing").verdict is Verdict.PASS


def test_equal_seeds_give_equal_answers(plan: Plan) -> None:
    questions = list(plan.questions.values())[:200]
    first, again, other = (ConstructedModel("oracle", seed).ask(questions) for seed in (1, 1, 2))
    assert first == again != other


def ask(name: str, head: str, current: int, **fields: object) -> object:
    question = Question(head, episode(), current, **fields)  # type: ignore[arg-type]
    return ConstructedModel(name).ask([question])[0]


def test_a_constructed_model_hears_its_task() -> None:
    last = len(LINEAR) - 1
    own, polite, wrong = (
        ask("oracle", "completion", last, task=task)
        for task in (None, "Please lift the cube", "push the ball")
    )
    assert (own.label, polite.label, wrong.label) == ("yes", "yes", "no")  # type: ignore[attr-defined]
    reworded = ConstructedModel("oracle", 0, {"lift the cube": ("raise the block",)})
    question = Question("completion", episode(), last, task="raise the block")
    assert reworded.ask([question])[0].label == "yes"


def test_a_generated_answer_has_no_probabilities() -> None:
    answer = ask("oracle", "progress", 5, readout=Readout.GENERATE)
    assert answer.value == 0.5  # type: ignore[attr-defined]
    assert answer.expected is None  # type: ignore[attr-defined]


def test_an_episode_without_labels_is_a_failure_and_no_value() -> None:
    unlabelled = episode(progress=None, frames=4, success=False)
    (answer,) = ConstructedModel("oracle").ask([Question("progress", unlabelled, 1)])
    assert answer.value is None
    assert "no progress labels" in answer.error


def test_a_name_that_is_none() -> None:
    with pytest.raises(ValueError, match="early_then_flat"):
        ConstructedModel("clip")
