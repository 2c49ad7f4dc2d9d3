"""The figures of ``bench.robot``."""

from __future__ import annotations

import math

import pytest

from bench.robot import Figures, Observed, percentile_ms, steps_of

METRICS = """\
# TYPE vllm:request_prefill_time_seconds histogram
vllm:request_prefill_time_seconds_bucket{engine="0",le="0.3"} 3.0
vllm:request_prefill_time_seconds_count{engine="0"} 3.0
vllm:request_prefill_time_seconds_sum{engine="0"} 0.5
vllm:request_prefill_time_seconds_count{engine="1"} 1.0
vllm:request_prefill_time_seconds_sum{engine="1"} 0.25
"""


def observed(*milliseconds: float) -> Observed:
    latencies = [each / 1000 for each in milliseconds]
    return Observed(latencies, ticks=len(latencies), failed=0, dropped=0)


def test_percentiles_are_of_all_latencies() -> None:
    latencies = [at / 1000 for at in range(1, 101)]
    assert percentile_ms(latencies, 50) == pytest.approx(50.5)
    assert percentile_ms(latencies, 99) == pytest.approx(99.01)
    assert math.isnan(percentile_ms([], 99))


def test_the_engine_s_steps_are_those_of_all_its_copies() -> None:
    assert steps_of(METRICS) == (0.75, 4.0)


@pytest.mark.parametrize(("beside", "met"), [(170.0, True), (171.0, False)])
def test_a_robot_may_wait_twice_as_long_and_a_step(beside: float, met: bool) -> None:
    figures = Figures(observed(10.0), observed(beside), step_ms=150.0, learner_queries_per_s=1.0)
    (goal,) = figures.goals()
    assert goal.met is met


def test_a_robot_that_got_nothing_beside_the_learner_misses_the_goal() -> None:
    (goal,) = Figures(observed(10.0), observed(), 150.0, 1.0).goals()
    assert not goal.met
