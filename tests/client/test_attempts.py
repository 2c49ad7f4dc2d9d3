"""When a client comes back: never before it was told to, and never with all the others."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_client import attempts
from lrm_client.attempts import Attempts, spread
from lrm_client.connection import Retry
from lrm_client.wire.reward_pb2 import Problem

NEVER = 1e12
"""A deadline on the monotonic clock that no wait outlasts."""
SECONDS = st.floats(0.001, 3600)


@given(SECONDS, SECONDS)
def test_nobody_comes_back_before_the_server_said(bound: float, told: float) -> None:
    wait = spread(bound, told)
    assert told <= wait <= told + max(bound, told)


@given(SECONDS)
def test_without_a_hint_the_wait_is_anywhere_below_its_bound(bound: float) -> None:
    assert 0 <= spread(bound, None) <= bound


@pytest.mark.parametrize("told", [0.05, 1.0, 30.0])
def test_two_hundred_clients_told_the_same_come_back_evenly_spread(
    monkeypatch: pytest.MonkeyPatch, told: float
) -> None:
    monkeypatch.setattr(attempts, "random", random.Random(7))
    full = Problem(code="overloaded", retry_after_seconds=told)
    waits = sorted(Attempts(Retry(), NEVER).wait_after(full) or 0.0 for _ in range(200))
    width = max(told, Retry().initial_seconds)
    # Of twenty equal parts of the time, each sees about ten clients and none a crowd.
    parts = [int(20 * (wait - told) / width) for wait in waits]
    crowds = [parts.count(part) for part in range(20)]
    assert min(crowds) >= 1
    assert max(crowds) <= 25
    assert len(set(waits)) == 200


@pytest.mark.parametrize("code", ["unavailable", "overloaded"])
def test_a_call_of_which_nothing_was_done_is_tried_as_often_as_was_asked(code: str) -> None:
    tries = Attempts(Retry(attempts=3), NEVER)
    waits = [tries.wait_after(Problem(code=code)) for _ in range(3)]
    assert [wait is None for wait in waits] == [False, False, True]


@pytest.mark.parametrize("code", ["deadline_exceeded", "internal", "invalid_argument"])
def test_other_problems_stand(code: str) -> None:
    assert Attempts(Retry(), NEVER).wait_after(Problem(code=code)) is None


def test_a_wait_that_outlasts_the_deadline_is_not_begun() -> None:
    full = Problem(code="overloaded", retry_after_seconds=5.0)
    assert Attempts(Retry(), 0.0).wait_after(full) is None
