"""Calibration, false positives, swap, label mass, readouts, sensitivity, words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrm_server.audit.checks import calibration, consistency, false_positives, sensitivity, words
from lrm_server.audit.evidence import Comparison, Failures
from lrm_server.audit.findings import NotComputableError, Verdict
from lrm_server.evaluation.asking import Answer
from tests.audit.builders import SHIPPED, changed, evidence, pair, said, trace, value, verdicts

FAILED = {"success": False}


def ends(*scores: float, truth: float = 0.5):  # type: ignore[no-untyped-def]
    """Failures with a last completion score each."""
    return [
        trace(f"f{n}", truth=[0.1, truth], completion=[0.1, score], success=False)
        for n, score in enumerate(scores)
    ]


def test_calibration_by_hand() -> None:
    # Two bins: five frames at 0.05 of which none is done, five at 0.85 of which all are.
    traces = [trace(f"s{n}", completion=[0.05] * 5 + [0.85] * 5, done_at=5) for n in range(6)]
    found = calibration.check(evidence(*traces), SHIPPED)
    assert value(found, "calibration.ece") == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)
    assert found.verdict is Verdict.PASS


def test_confident_nonsense_is_not_calibrated() -> None:
    traces = [trace(f"s{n}", completion=[0.9] * 10, done_at=8) for n in range(6)]
    found = calibration.check(evidence(*traces), SHIPPED)
    assert value(found, "calibration.ece") == pytest.approx(0.7)
    assert found.verdict is Verdict.FAIL
    assert "most where it says 0.90 and 0.20 of the frames are done" in found.sentence


def test_false_positives_of_all_failures() -> None:
    found = false_positives.check(evidence(*ends(*[0.9, 0.9, 0.1, 0.1, 0.1, 0.1] * 6)), SHIPPED)
    assert value(found, "false_positives.all") == pytest.approx(2 / 6)
    assert found.verdict is Verdict.FAIL
    assert [row[0] for row in found.details[0].rows][:3] == ["f0", "f1", "f6"]
    assert "Left out: 0 failures that end at a true progress of 0.8" in found.sentence


def test_false_positives_near_the_goal_convict_alone() -> None:
    near = ends(*[0.9] * 6, truth=0.85)
    far = ends(*[0.1] * 44)
    found = false_positives.check(evidence(*near, *far), SHIPPED)
    assert verdicts(found)["false_positives.all"] is Verdict.WARN
    assert verdicts(found)["false_positives.near"] is Verdict.FAIL
    assert value(found, "false_positives.near") == 1


def test_no_false_positives_pass_with_an_interval_that_says_how_few_were_seen() -> None:
    found = false_positives.check(evidence(*ends(*[0.1] * 12)), SHIPPED)
    assert set(verdicts(found).values()) == {Verdict.PASS}
    # Wilson's upper end for none of twelve: z^2 / (n + z^2).
    assert found.measures[0].figure.high == pytest.approx(3.8415 / 15.8415, abs=1e-4)


def test_only_the_end_of_a_failure_counts() -> None:
    on_the_way = [trace(f"f{n}", completion=[0.9, 0.9, 0.1], success=False) for n in range(12)]
    found = false_positives.check(evidence(*on_the_way), SHIPPED)
    assert value(found, "false_positives.all") == 0
    # But every frame is a reward.
    assert value(found, "false_positives.frames") == pytest.approx(2 / 3)
    assert verdicts(found)["false_positives.frames"] is Verdict.FAIL


def test_progress_is_held_to_the_same_beside_completion() -> None:
    """Completion is right throughout; progress says 1.0 at the end of failures."""
    ended = {"completion": [0.1, 0.1], "progress": [0.2, 1.0], "success": False}
    lost = [trace(f"f{n}", truth=[0.1, 0.5], **ended) for n in range(12)]
    found = false_positives.check(evidence(*lost), SHIPPED)
    assert verdicts(found)["false_positives.all"] is Verdict.PASS
    assert verdicts(found)["false_positives.progress"] is Verdict.FAIL
    # What is done but for a rounding is not said too early to be.
    close = [trace(f"f{n}", truth=[0.1, 0.97], **ended) for n in range(12)]
    assert "false_positives.progress" not in verdicts(
        false_positives.check(evidence(*close), SHIPPED)
    )


def test_failures_that_end_with_more_progress_than_successes() -> None:
    won = [trace(f"s{n}", completion=[0.1, 0.9], progress=[0.3, 0.8], done_at=1) for n in range(20)]
    lost = [
        trace(f"f{n}", completion=[0.1, 0.1], progress=[0.5, 0.9], success=False) for n in range(20)
    ]
    found = false_positives.check(evidence(*won, *lost), SHIPPED)
    assert value(found, "false_positives.ranking") == 0
    assert verdicts(found)["false_positives.ranking"] is Verdict.FAIL
    other = [replace(t, task="push") for t in lost]
    found = false_positives.check(evidence(*won, *other), SHIPPED)
    assert "false_positives.ranking" not in verdicts(found)


def test_false_positives_need_failures() -> None:
    good = [trace(f"s{n}", completion=[0.1, 0.9], done_at=1) for n in range(5)]
    with pytest.raises(NotComputableError, match="0 labelled failures"):
        false_positives.check(evidence(*good), SHIPPED)


def test_contradictions_between_the_orders() -> None:
    pairs = [pair(f"e{n}", 0.9, 0.1) for n in range(30)] + [
        pair(f"e{n}", 0.9, 0.8) for n in range(30, 40)
    ]
    found = consistency.check_swap(evidence(pairs=tuple(pairs)), SHIPPED)
    assert value(found, "swap.contradictory") == pytest.approx(10 / 40)
    assert verdicts(found)["swap.contradictory"] is Verdict.WARN
    # The second place draws 0.35 beyond one half in ten of forty pairs.
    assert value(found, "swap.position_bias") == pytest.approx(10 * 0.35 / 40)
    assert "second (current) place" in found.sentence


def test_a_model_that_looks_at_the_place_alone_is_convicted() -> None:
    first = tuple(pair(f"e{n}", 0.1, 0.1) for n in range(5))
    found = consistency.check_swap(evidence(pairs=first), SHIPPED)
    assert value(found, "swap.contradictory") == 1
    assert value(found, "swap.position_bias") == pytest.approx(0.4)
    assert verdicts(found)["swap.contradictory"] is Verdict.FAIL
    assert "first (previous) place" in found.sentence


def test_consistent_pairs_pass() -> None:
    pairs = tuple(pair(f"e{n}", 0.8, 0.2) for n in range(12))
    assert consistency.check_swap(evidence(pairs=pairs), SHIPPED).verdict is Verdict.PASS


def test_label_mass() -> None:
    good = consistency.check_labels(evidence(label_masses=(0.99,) * 200), SHIPPED)
    assert good.verdict is Verdict.PASS
    tail = consistency.check_labels(evidence(label_masses=(0.99,) * 97 + (0.2,) * 3), SHIPPED)
    assert verdicts(tail)["labels.mass_first_percentile"] is Verdict.WARN
    assert verdicts(tail)["labels.mass_median"] is Verdict.PASS
    elsewhere = consistency.check_labels(evidence(label_masses=(0.1,) * 50), SHIPPED)
    assert elsewhere.verdict is Verdict.FAIL
    with pytest.raises(NotComputableError, match="no answer came with a label mass"):
        consistency.check_labels(evidence(), SHIPPED)


@pytest.mark.parametrize(
    ("silent", "verdict"), [(1, Verdict.PASS), (2, Verdict.WARN), (6, Verdict.FAIL)]
)
def test_questions_that_the_model_does_not_answer(silent: int, verdict: Verdict) -> None:
    failures = Failures(100, {"unreadable": 4, "answer_unparsable": silent})
    found = consistency.check_labels(
        evidence(label_masses=(0.99,) * 90, failures=failures), SHIPPED
    )
    assert value(found, "labels.unanswered") == pytest.approx(silent / 100)
    assert found.verdict is verdict


def test_readouts_agree_within_a_stage_or_on_the_label() -> None:
    compared = (
        Comparison("a", "progress", said(0.5, 0.52), said(0.6)),
        Comparison("b", "progress", said(0.5, 0.52), said(0.7)),
        Comparison("a", "completion", said(1, 0.9, "yes"), said(1, label="yes")),
        Comparison("b", "completion", said(1, 0.9, "yes"), said(1, label="yes")),
    )
    readouts = {"likelihood and generate": compared}
    found = consistency.check_readouts(evidence(readouts=readouts), SHIPPED)
    assert value(found, "readouts.agreement") == 0.5
    assert found.verdict is Verdict.WARN
    assert "progress: likelihood and generate" in found.sentence
    good = {"likelihood and generate": compared[2:]}
    assert consistency.check_readouts(evidence(readouts=good), SHIPPED).verdict is Verdict.PASS


def test_readouts_that_are_refused_say_why() -> None:
    with pytest.raises(NotComputableError, match="progress, generate: NOT_PARSED: prose"):
        consistency.check_readouts(
            evidence(readout_errors={"progress, generate": "NOT_PARSED: prose"}), SHIPPED
        )


def test_the_worst_edit_is_named() -> None:
    edits = {
        "blur": tuple(changed(f"e{n}", "progress", 0.5, 0.52) for n in range(4)),
        "darker": tuple(changed(f"e{n}", "progress", 0.5, 0.2) for n in range(4)),
        "shift left": (
            *(changed(f"e{n}", "completion", 0.9, 0.1) for n in range(2)),
            *(changed(f"e{n}", "contrastive", 0.9, 0.8) for n in range(2)),
        ),
    }
    found = sensitivity.check(evidence(edits=edits), SHIPPED)
    assert value(found, "sensitivity.progress") == pytest.approx(0.3)
    assert value(found, "sensitivity.flips") == 0.5
    assert set(verdicts(found).values()) == {Verdict.WARN}
    assert "darker moves progress by 0.30" in found.sentence
    assert "shift left turns 50%" in found.sentence


def test_steady_answers_pass_every_edit() -> None:
    edits = {
        "blur": tuple(
            changed(f"e{n}", head, 0.5, 0.52)
            for n in range(4)
            for head in ("progress", "completion")
        )
    }
    assert sensitivity.check(evidence(edits=edits), SHIPPED).verdict is Verdict.PASS


def test_edits_without_answers_are_not_computable() -> None:
    lost = Comparison("e", "progress", said(0.5), Answer(error="late"))
    with pytest.raises(NotComputableError, match="nothing was answered"):
        sensitivity.check(evidence(edits={"blur": (lost,)}), SHIPPED)


def test_answers_that_depend_on_the_wording() -> None:
    wordings = {
        "Please {task}": tuple(changed(f"e{n}", "progress", 0.8, 0.8) for n in range(3)),
        "Kindly {task}": (
            *(changed(f"e{n}", "progress", 0.8, 0.3) for n in range(3)),
            *(changed(f"e{n}", "completion", 0.8, 0.3) for n in range(3)),
        ),
    }
    found = words.check_paraphrases(evidence(paraphrases=wordings), SHIPPED)
    assert value(found, "words.paraphrase_progress") == pytest.approx(0.5)
    assert value(found, "words.paraphrase_flips") == 1
    assert found.verdict is Verdict.WARN
    assert "'Kindly {task}'" in found.sentence
    del wordings["Kindly {task}"]
    steady = words.check_paraphrases(evidence(paraphrases=wordings), SHIPPED)
    assert steady.verdict is Verdict.PASS


def test_a_wrong_task_fools_only_where_the_right_one_convinced() -> None:
    wrong = (
        changed("a", "completion", 0.9, 0.9),
        changed("b", "completion", 0.9, 0.1),
        # It did not see this one as finished, so it cannot be fooled by it.
        changed("c", "completion", 0.2, 0.9),
        changed("a", "progress", 0.9, 0.1),
        changed("b", "progress", 0.9, 0.2),
    )
    found = words.check_wrong_task(evidence(wrong_tasks=wrong), SHIPPED)
    assert value(found, "words.fooled_completion") == 0.5
    assert value(found, "words.fooled_progress") == 0
    assert verdicts(found) == {
        "words.fooled_completion": Verdict.WARN,
        "words.fooled_progress": Verdict.PASS,
    }


def test_a_wrong_task_needs_another_task() -> None:
    with pytest.raises(NotComputableError, match="--wrong-task"):
        words.check_wrong_task(evidence(), SHIPPED)


def test_the_other_task_is_named() -> None:
    wrong = [
        replace(changed(f"e{n}", "completion", 0.9, 0.9), task="push the ball") for n in (1, 2)
    ]
    found = words.check_wrong_task(evidence(wrong_tasks=tuple(wrong)), SHIPPED)
    assert "'push the ball' (2 of 2 times)" in found.sentence
    assert found.details[0].rows[0] == ("push the ball", "completion", "e1")


def test_a_readout_that_is_not_answered_does_not_agree() -> None:
    silent = Answer(error="answer_unparsable: prose")
    compared = (
        *(Comparison(f"a{n}", "progress", said(0.5), said(0.5)) for n in range(3)),
        Comparison("b", "progress", said(0.5), silent),
    )
    found = consistency.check_readouts(
        evidence(readouts={"likelihood and generate": compared}), SHIPPED
    )
    assert value(found, "readouts.agreement") == pytest.approx(3 / 4)
    assert "3 of 4 questions were answered by both" in found.sentence
