"""The pace counts the time in which there was something to answer."""

from __future__ import annotations

import pytest

from lrm_server.engine.pace import COUNTED, FIRST_GUESS_SECONDS, Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_the_time_from_answer_to_answer() -> None:
    pace = Pace(clock := Clock())
    assert pace.seconds == FIRST_GUESS_SECONDS
    pace.busy()
    for _ in range(4):
        clock.now += 0.5
        pace.answered()
    assert pace.seconds == pytest.approx(0.5)


def test_answers_that_come_together_share_the_time_they_took() -> None:
    pace = Pace(clock := Clock())
    pace.busy()
    for _ in range(5):
        clock.now += 1.0
        for _ in range(10):
            pace.answered()
    assert pace.seconds == pytest.approx(0.1, rel=0.1)


def test_time_without_questions_does_not_count() -> None:
    pace = Pace(clock := Clock())
    for _ in range(3):
        pace.busy()
        pace.busy()
        clock.now += 0.5
        pace.answered()
        pace.idle()
        clock.now += 3600
    assert pace.seconds == pytest.approx(0.5)


def test_old_answers_are_forgotten() -> None:
    pace = Pace(clock := Clock())
    pace.busy()
    for gap in (10.0, 0.1):
        for _ in range(COUNTED):
            clock.now += gap
            pace.answered()
    assert pace.seconds == pytest.approx(0.1)
