"""Whether progress follows the truth, and contrastive its direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lrm_server.audit.checks import correlation
from lrm_server.audit.findings import NotComputableError, Verdict
from lrm_server.evaluation.asking import Answer
from tests.audit.builders import LINEAR, SHIPPED, evidence, pair, trace, value, verdicts


def check(*answers: list[float], truth: tuple[float, ...] = LINEAR):  # type: ignore[no-untyped-def]
    traces = [
        trace(f"e{n}", truth=truth, progress=answer, success=n % 2 == 0)
        for n, answer in enumerate(answers)
    ]
    return correlation.check(evidence(*traces), SHIPPED)


def test_the_mean_within_episodes() -> None:
    truth = (0.0, 0.5, 1.0)
    answers = ([0.0, 0.5, 1.0], [0.1, 0.2, 0.9], [0.0, 0.6, 0.4]) * 4
    found = check(*answers, truth=truth)
    by_hand = np.mean([stats.pearsonr(truth, a).statistic for a in answers])
    assert value(found, "correlation.pearson") == pytest.approx(by_hand)
    # Ranks: 1, 1 and 1 - 6 * 2 / 24.
    assert value(found, "correlation.spearman") == pytest.approx((1 + 1 + 0.5) / 3)


def test_a_model_that_follows_passes() -> None:
    found = check(*[[t * 0.8 + 0.01 * n for t in LINEAR] for n in range(12)])
    assert found.verdict is Verdict.PASS


def test_noise_is_convicted_and_said_to_include_zero() -> None:
    random = np.random.default_rng(0)
    found = check(*[random.uniform(size=len(LINEAR)).tolist() for _ in range(12)])
    assert found.verdict is Verdict.FAIL
    assert "cannot be told from noise" in found.sentence


def test_the_low_end_of_the_interval_is_judged() -> None:
    """The mean is above the threshold, but half of the episodes run the wrong way."""
    backwards = [1 - t for t in LINEAR]
    found = check(*[list(LINEAR)] * 24, *[backwards] * 11)
    assert value(found, "correlation.pearson") > 0.3
    assert found.verdict is Verdict.FAIL


def test_a_model_that_says_one_thing_follows_nothing() -> None:
    found = check(*[[0.5] * len(LINEAR)] * 12)
    assert value(found, "correlation.pearson") == 0
    assert found.verdict is Verdict.FAIL


def test_failed_frames_are_left_out() -> None:
    found = check(*[[*LINEAR[:-1], float("nan")]] * 12)
    assert value(found, "correlation.pearson") == pytest.approx(1)


def test_episodes_whose_truth_stands_still_say_nothing() -> None:
    with pytest.raises(NotComputableError, match="whose labelled progress moves"):
        check(*[[0.1, 0.5, 0.9]] * 5, truth=(0.3, 0.31, 0.32))


def test_right_answers_in_both_orders() -> None:
    right = [pair(f"e{n}", 0.9, 0.1) for n in range(12)]
    right += [pair(f"f{n}", 0.1, 0.9, rise=-0.3) for n in range(12)]
    found = correlation.check_direction(evidence(pairs=tuple(right)), SHIPPED)
    assert value(found, "direction.accuracy") == 1
    assert found.verdict is Verdict.PASS


def test_a_fall_is_told_from_a_rise() -> None:
    falls = [pair(f"e{n}", 0.9, 0.1, rise=-0.4) for n in range(12)]
    found = correlation.check_direction(evidence(trace("e"), pairs=tuple(falls)), SHIPPED)
    assert value(found, "direction.accuracy") == 0
    assert found.verdict is Verdict.FAIL


def test_a_model_that_always_names_the_current_frame_is_a_coin() -> None:
    always = [pair(f"e{n}", 0.9, 0.9) for n in range(40)]
    found = correlation.check_direction(evidence(trace("e"), pairs=tuple(always)), SHIPPED)
    assert value(found, "direction.accuracy") == 0.5
    assert found.verdict is Verdict.FAIL


def test_a_tie_is_wrong_and_a_failure_is_left_out() -> None:
    pairs = [pair(f"e{n}", 0.9, 0.1) for n in range(6)]
    tie = Answer(value=0.0, label="undecided")
    lost = Answer(error="TIMEOUT: late")
    ties = [type(pairs[0])(p.episode, p.rise, tie, lost) for p in pairs]
    found = correlation.check_direction(evidence(trace("e"), pairs=(*pairs, *ties)), SHIPPED)
    assert value(found, "direction.accuracy") == pytest.approx(12 / 18)


def test_the_later_frame_is_not_always_the_better_one() -> None:
    """Right about every rise and wrong about every fall, which are few."""
    rises = [pair(f"e{n}", 0.9, 0.1) for n in range(40)]
    falls = [pair(f"f{n}", 0.9, 0.1, rise=-0.3) for n in range(8)]
    found = correlation.check_direction(evidence(trace("e"), pairs=(*rises, *falls)), SHIPPED)
    assert verdicts(found) == {
        "direction.accuracy": Verdict.PASS,
        "direction.falling": Verdict.FAIL,
    }
    assert "takes the later frame for the better one" in found.advice
    without = correlation.check_direction(evidence(trace("e"), pairs=tuple(rises)), SHIPPED)
    assert without.verdict is Verdict.WARN
    assert "0 episodes in which the true progress falls" in without.sentence


def test_ten_episodes_do_not_tell_a_coin_from_a_good_model() -> None:
    right = [pair(f"e{n}", 0.9, 0.1) for n in range(7)]
    wrong = [pair(f"f{n}", 0.1, 0.9) for n in range(3)]
    found = correlation.check_direction(evidence(trace("e"), pairs=(*right, *wrong)), SHIPPED)
    assert verdicts(found) == {"direction.accuracy": Verdict.NOT_COMPUTABLE}
    assert "too few to tell" in found.measures[0].why


def test_progress_that_rises_with_time_alone_is_convicted_by_failures() -> None:
    rises, stays = list(LINEAR[1:]), [0.1, 0.4] * 5
    ends = {True: rises, False: stays}
    clock = [
        trace(f"{end}{n}", truth=ends[end], progress=rises, success=end)
        for end in (True, False)
        for n in range(16)
    ]
    found = correlation.check(evidence(*clock), SHIPPED)
    assert value(found, "correlation.failures") == pytest.approx(stats.pearsonr(rises, stays)[0])
    assert verdicts(found)["correlation.failures"] is Verdict.FAIL


def test_the_error_is_stated_and_never_convicts() -> None:
    found = check(*[[0.3 * t for t in LINEAR]] * 12)
    assert value(found, "correlation.error") == pytest.approx(0.35)
    assert verdicts(found)["correlation.error"] is Verdict.WARN
    assert found.verdict is Verdict.WARN


def test_assumed_progress_convicts_and_does_not_acquit() -> None:
    clock, backwards = list(LINEAR), [1 - t for t in LINEAR]
    for answers, verdict in ((clock, Verdict.NOT_COMPUTABLE), (backwards, Verdict.FAIL)):
        traces = [
            replace(trace(f"e{n}", truth=LINEAR, progress=answers), assumed=True) for n in range(12)
        ]
        found = correlation.check(evidence(*traces), SHIPPED)
        assert found.verdict is verdict
        assert "which a clock follows too" in found.sentence


def test_a_poor_accuracy_asks_for_other_pairs() -> None:
    # A mean of 0.65 is not good whatever its interval.
    poor = [pair(f"e{n}", 0.9, 0.1) for n in range(52)] + [
        pair(f"f{n}", 0.1, 0.9) for n in range(28)
    ]
    found = correlation.check_direction(evidence(trace("e"), pairs=tuple(poor)), SHIPPED)
    assert verdicts(found)["direction.accuracy"] is Verdict.WARN
    assert "both orders" in found.advice


def test_pairs_of_unknown_truth_say_nothing() -> None:
    unknown = tuple(pair(f"e{n}", 0.9, 0.1, rise=None) for n in range(5))
    with pytest.raises(NotComputableError, match="no episode says how far it is"):
        correlation.check_direction(evidence(trace("e"), pairs=unknown), SHIPPED)
