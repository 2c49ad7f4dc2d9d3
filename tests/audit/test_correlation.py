"""Whether progress follows the truth, and contrastive its direction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lrm_server.audit.checks import correlation
from lrm_server.audit.findings import NotComputableError, Verdict
from lrm_server.evaluation.asking import Answer
from tests.audit.builders import LINEAR, SHIPPED, evidence, pair, trace, value


def check(*answers: list[float], truth: tuple[float, ...] = LINEAR):  # type: ignore[no-untyped-def]
    traces = [trace(f"e{n}", truth=truth, progress=answer) for n, answer in enumerate(answers)]
    return correlation.check(evidence(*traces), SHIPPED)


def test_the_mean_within_episodes() -> None:
    truth = (0.0, 0.5, 1.0)
    found = check([0.0, 0.5, 1.0], [0.1, 0.2, 0.9], [0.0, 0.6, 0.4], truth=truth)
    answers = ([0.0, 0.5, 1.0], [0.1, 0.2, 0.9], [0.0, 0.6, 0.4])
    by_hand = np.mean([stats.pearsonr(truth, a).statistic for a in answers])
    assert value(found, "correlation.pearson") == pytest.approx(by_hand)
    # Ranks: 1, 1 and 1 - 6 * 2 / 24.
    assert value(found, "correlation.spearman") == pytest.approx((1 + 1 + 0.5) / 3)


def test_a_model_that_follows_passes() -> None:
    found = check(*[[t * 0.8 + 0.01 * n for t in LINEAR] for n in range(4)])
    assert found.verdict is Verdict.PASS


def test_noise_is_convicted_and_said_to_include_zero() -> None:
    random = np.random.default_rng(0)
    found = check(*[random.uniform(size=len(LINEAR)).tolist() for _ in range(12)])
    assert found.verdict is Verdict.FAIL
    assert "cannot be told from noise" in found.sentence


def test_the_low_end_of_the_interval_is_judged() -> None:
    """The mean is above the threshold, but half of the episodes run the wrong way."""
    backwards = [1 - t for t in LINEAR]
    found = check(*[list(LINEAR)] * 5, *[backwards] * 2)
    assert value(found, "correlation.pearson") > 0.3
    assert found.verdict is Verdict.FAIL


def test_a_model_that_says_one_thing_follows_nothing() -> None:
    found = check(*[[0.5] * len(LINEAR)] * 4)
    assert value(found, "correlation.pearson") == 0
    assert found.verdict is Verdict.FAIL


def test_failed_frames_are_left_out() -> None:
    found = check(*[[*LINEAR[:-1], float("nan")]] * 3)
    assert value(found, "correlation.pearson") == pytest.approx(1)


def test_episodes_whose_truth_stands_still_say_nothing() -> None:
    with pytest.raises(NotComputableError, match="whose labelled progress moves"):
        check(*[[0.1, 0.5, 0.9]] * 5, truth=(0.3, 0.31, 0.32))


def test_right_answers_in_both_orders() -> None:
    right = [pair(f"e{n}", 0.9, 0.1) for n in range(12)]
    found = correlation.check_direction(evidence(pairs=tuple(right)), SHIPPED)
    assert value(found, "direction.accuracy") == 1
    assert found.verdict is Verdict.PASS


def test_a_fall_is_told_from_a_rise() -> None:
    falls = [pair(f"e{n}", 0.9, 0.1, rise=-0.4) for n in range(12)]
    found = correlation.check_direction(evidence(pairs=tuple(falls)), SHIPPED)
    assert value(found, "direction.accuracy") == 0
    assert found.verdict is Verdict.FAIL


def test_a_model_that_always_names_the_current_frame_is_a_coin() -> None:
    always = [pair(f"e{n}", 0.9, 0.9) for n in range(12)]
    found = correlation.check_direction(evidence(pairs=tuple(always)), SHIPPED)
    assert value(found, "direction.accuracy") == 0.5
    assert found.verdict is Verdict.FAIL


def test_a_tie_is_wrong_and_a_failure_is_left_out() -> None:
    pairs = [pair(f"e{n}", 0.9, 0.1) for n in range(3)]
    tie = Answer(value=0.0, label="undecided")
    lost = Answer(error="TIMEOUT: late")
    ties = [type(pairs[0])(p.episode, p.rise, tie, lost) for p in pairs]
    found = correlation.check_direction(evidence(pairs=(*pairs, *ties)), SHIPPED)
    assert value(found, "direction.accuracy") == pytest.approx(6 / 9)


def test_three_right_episodes_neither_acquit_nor_convict() -> None:
    few = [pair(f"e{n}", 0.9, 0.1) for n in range(3)]
    with pytest.raises(NotComputableError, match="too few episodes to tell"):
        correlation.check_direction(evidence(pairs=tuple(few)), SHIPPED)


def test_a_wide_interval_asks_for_more_episodes() -> None:
    found = correlation.check_direction(
        evidence(pairs=tuple(pair(f"e{n}", 0.9, 0.1) for n in range(5))), SHIPPED
    )
    assert found.verdict is Verdict.WARN
    assert "record more episodes" in found.advice
    # A mean of 0.65 is not good whatever its interval.
    poor = [pair(f"e{n}", 0.9, 0.1) for n in range(52)] + [
        pair(f"f{n}", 0.1, 0.9) for n in range(28)
    ]
    found = correlation.check_direction(evidence(pairs=tuple(poor)), SHIPPED)
    assert found.verdict is Verdict.WARN
    assert "both orders" in found.advice


def test_pairs_of_unknown_truth_say_nothing() -> None:
    unknown = tuple(pair(f"e{n}", 0.9, 0.1, rise=None) for n in range(5))
    with pytest.raises(NotComputableError, match="pairs of different true progress"):
        correlation.check_direction(evidence(trace("e"), pairs=unknown), SHIPPED)
