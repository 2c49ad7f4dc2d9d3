"""When completion is called."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_server.audit.checks import timing
from lrm_server.audit.checks.common import called_at
from lrm_server.audit.evidence import Trace
from lrm_server.audit.findings import NotComputableError, Verdict
from tests.audit.builders import SHIPPED, evidence, trace, value, verdicts

NO, YES = 0.1, 0.9


def success(name: str, called: int | None, done: int = 7, count: int = 10, no: float = NO):  # type: ignore[no-untyped-def]
    """A success at place ``done`` that is called from place ``called`` on."""
    scores = [YES if called is not None and place >= called else no for place in range(count)]
    return trace(name, completion=scores, done_at=done)


def failure(name: str, *scores: float):  # type: ignore[no-untyped-def]
    return trace(name, completion=[*scores], success=False)


QUIET = [failure(f"failure {n}", *[NO] * 10) for n in range(12)]


@pytest.mark.parametrize(
    ("scores", "place"),
    [
        ([0.1, 0.6, 0.7, 0.2], 1),
        ([0.1, 0.6, 0.2, 0.6], 3),
        ([0.1, 0.6, 0.2, 0.2], None),
        ([0.5, 0.5], 0),
        ([0.49], None),
        ([0.5], 0),
    ],
)
def test_a_call_holds_for_two_frames_or_to_the_end(scores: list[float], place: int | None) -> None:
    assert called_at(np.asarray(scores), 0.5, 2) == place


def test_calls_on_time_pass() -> None:
    found = timing.check(evidence(*(success(f"s{n}", 7) for n in range(16)), *QUIET), SHIPPED)
    assert found.verdict is Verdict.PASS
    assert value(found, "timing.early") == 0
    assert "16 of 16 successes are called on time" in found.sentence


def test_early_calls_are_signed_in_steps_and_in_share() -> None:
    # Done at step 80 of 100, called at step 40.
    found = timing.check(evidence(*(success(f"s{n}", 3) for n in range(16)), *QUIET), SHIPPED)
    assert verdicts(found)["timing.early"] is Verdict.FAIL
    assert value(found, "timing.early") == 1
    assert value(found, "timing.lag") == pytest.approx(-0.4)
    assert found.details[0].rows[0] == ("early", 16, -40.0, pytest.approx(-0.4))
    assert "16 early (by 0.40 of the episode, 40 steps" in found.sentence


def test_a_call_one_frame_early_is_within_the_tolerance() -> None:
    found = timing.check(evidence(*(success(f"s{n}", 6) for n in range(16)), *QUIET), SHIPPED)
    assert found.verdict is Verdict.PASS


def test_a_lag_is_stated_and_never_convicts() -> None:
    traces = [success(f"s{n}", 8, done=5) for n in range(16)]
    found = timing.check(evidence(*traces, *QUIET), SHIPPED)
    assert found.verdict is Verdict.WARN
    assert value(found, "timing.lag") == pytest.approx(0.3)
    assert "0.30 of the episode (30 steps) late" in found.sentence
    assert "longer horizon" in found.advice


def test_successes_that_are_never_called_convict() -> None:
    found = timing.check(evidence(*(success(f"s{n}", None) for n in range(16)), *QUIET), SHIPPED)
    assert verdicts(found)["timing.never"] is Verdict.FAIL
    assert "16 never" in found.sentence
    assert "longer horizon" not in found.advice


def test_a_rising_score_that_the_recording_cuts_off_is_not_never() -> None:
    """It ranks done frames above others, so it may only be late; the recording must tell."""
    cut = [trace(f"s{n}", completion=[NO] * 9 + [0.4], done_at=9, success=True) for n in range(8)]
    told = [success(f"t{n}", 9, done=8) for n in range(12)]
    found = timing.check(evidence(*cut, *told, *QUIET), SHIPPED)
    assert value(found, "timing.never") == 0
    assert "8 not before the recording ends" in found.sentence
    with pytest.raises(NotComputableError, match="record longer"):
        timing.check(evidence(*cut, *told[:2], *QUIET), SHIPPED)


def test_a_rising_score_that_stays_low_for_long_enough_is_never() -> None:
    cut = [trace(f"s{n}", completion=[NO] * 5 + [0.4] * 5, done_at=5) for n in range(16)]
    found = timing.check(evidence(*cut, *QUIET), SHIPPED)
    assert value(found, "timing.never") == 1


def test_calls_on_the_way_of_failures_convict() -> None:
    called = [failure(f"f{n}", NO, YES, YES, NO, NO) for n in range(12)]
    good = [success(f"s{n}", 7) for n in range(12)]
    found = timing.check(evidence(*good, *called), SHIPPED)
    assert verdicts(found)["timing.called_in_failures"] is Verdict.FAIL


def test_a_failure_that_was_done_for_a_while_may_be_called_then() -> None:
    undone = [
        trace(f"u{n}", completion=[NO, YES, YES, NO], success=False, done_at=1) for n in range(12)
    ]
    good = [success(f"s{n}", 7) for n in range(12)]
    found = timing.check(evidence(*good, *undone, *QUIET), SHIPPED)
    assert value(found, "timing.called_in_failures") == 0


def test_without_completion_progress_at_one_is_the_call() -> None:
    traces = [trace(f"s{n}", progress=[0.1, 0.5, 1.0, 1.0, 1.0, 1.0], done_at=5) for n in range(12)]
    found = timing.check(evidence(*traces, heads=["progress"]), SHIPPED)
    assert value(found, "timing.lag") == pytest.approx(-0.5)
    assert "By progress at 1.0" in found.sentence


def test_frames_without_an_answer_are_passed_over() -> None:
    nan = float("nan")
    scores = [NO, NO, nan, YES, nan, YES, YES, YES]
    traces = [trace(f"s{n}", completion=scores, done_at=3) for n in range(12)]
    assert value(timing.check(evidence(*traces), SHIPPED), "timing.lag") == 0


def test_it_takes_successes() -> None:
    with pytest.raises(NotComputableError, match="0 labelled successes"):
        timing.check(evidence(*QUIET), SHIPPED)
    with pytest.raises(NotComputableError, match="no episode says whether it succeeded"):
        timing.check(evidence(trace("u", completion=[NO, YES], success=None)), SHIPPED)


def test_a_call_that_is_taken_back_is_convicted() -> None:
    def called(*after: float) -> list[Trace]:
        return [
            trace(f"s{n}", completion=[NO] * 3 + [YES, YES, *after], done_at=3) for n in range(12)
        ]

    back = timing.check(evidence(*called(NO, NO, NO), *QUIET), SHIPPED)
    assert value(back, "timing.kept") == 0
    assert verdicts(back)["timing.kept"] is Verdict.FAIL
    assert "taken back" in back.advice
    kept = timing.check(evidence(*called(YES, YES, YES), *QUIET), SHIPPED)
    assert kept.verdict is Verdict.PASS
    ended = timing.check(evidence(*called(), *QUIET), SHIPPED)
    assert "timing.kept" not in verdicts(ended)
    assert ended.verdict is Verdict.PASS


def test_a_failure_without_an_answer_is_none_that_was_not_called() -> None:
    good = [success(f"s{n}", 7) for n in range(12)]
    called = [failure(f"f{n}", NO, YES, YES, NO) for n in range(12)]
    lost = [failure(f"l{n}", *[float("nan")] * 4) for n in range(12)]
    found = timing.check(evidence(*good, *called, *lost), SHIPPED)
    assert value(found, "timing.called_in_failures") == 1
