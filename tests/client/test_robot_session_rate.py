"""A loop of a fixed rate, on a clock that moves only when it is told to."""

from __future__ import annotations

import math

import pytest

from lrm_client.rate import Rate


class Time:
    """A clock whose sleepers wake up late by ``oversleep`` seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.oversleep = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self.oversleep


@pytest.fixture
def time() -> Time:
    return Time()


def rate(time: Time, hz: float) -> Rate:
    return Rate(hz, clock=time.clock, sleep=time.sleep)


def test_a_loop_sleeps_for_what_its_work_leaves_of_a_period(time: Time) -> None:
    ten = rate(time, 10)
    for work in (0.03, 0.06, 0.0):
        time.now += work
        assert ten.sleep() == 0.0
    assert time.slept == pytest.approx([0.07, 0.04, 0.1])
    assert ten.overruns == 0


@pytest.mark.parametrize("hz", [5, 7.5, 30])
def test_late_wake_ups_do_not_add_up(time: Time, hz: float) -> None:
    steady = rate(time, hz)
    time.oversleep = 0.004
    for _ in range(1000):
        time.now += 0.01
        steady.sleep()
    assert time.now == pytest.approx(100.0 + 1000 / hz + time.oversleep)
    assert steady.overruns == 0


def test_an_overrun_is_reported_and_the_phase_kept(time: Time) -> None:
    ten = rate(time, 10)
    time.now += 0.25
    assert ten.sleep() == pytest.approx(0.15)
    assert (time.slept, ten.overruns) == ([], 1)
    assert ten.sleep() == 0.0
    assert time.now == pytest.approx(100.3)


def test_a_loop_that_is_always_late_never_sleeps_and_counts_each_time(time: Time) -> None:
    ten = rate(time, 10)
    for _ in range(5):
        time.now += 0.11
        ten.sleep()
    assert (time.slept, ten.overruns) == ([], 5)


def test_a_started_rate_forgets_what_came_before(time: Time) -> None:
    ten = rate(time, 10)
    time.now += 7.77
    ten.start()
    assert ten.sleep() == 0.0
    assert time.slept == pytest.approx([0.1])


@pytest.mark.parametrize("hz", [0, -1, math.inf, math.nan])
def test_a_rate_is_finite_and_positive(hz: float) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        Rate(hz)
