"""Rates, their ratios and the goals of ``bench.throughput``."""

from __future__ import annotations

import math

import pytest

from bench.comparison import BARE, JPEG, OPENAI, RAW, Row, Written, row_of, throughput_goals
from bench.learner import Load, Took


def row(head: str, environments: int, **rates: float) -> Row:
    sides = {"bare": BARE, "raw": RAW, "jpeg": JPEG, "openai": OPENAI}
    named = {sides[name]: rate for name, rate in rates.items()}
    return Row(head, environments, named, 0.0, 0.0, 0.0, 0.0)


def test_the_first_due_step_of_an_episode_is_not_counted() -> None:
    load = Load("", 10, ("progress",), interval=5, due=3)
    took = Took(due=[9.0, 1.0, 3.0], held=[0.5] * 12)
    found = row_of(load, {RAW: [took], BARE: [Took([9.0, 1.0, 1.0], [])]})
    assert found.rates == {RAW: 5.0, BARE: 10.0}
    assert found.ratio(RAW, BARE) == 0.5
    assert found.due_ms_worst == 3000.0


def test_rewards_count_the_steps_that_hold_one() -> None:
    load = Load("", 10, ("progress", "completion"), interval=5, due=1)
    found = row_of(load, {RAW: [Took(due=[2.0], held=[0.5] * 4)]})
    # Ten environments get two rewards at each of five steps, which take 2 + 4 x 0.5 seconds.
    assert found.rewards_per_s == pytest.approx(10 * 2 * 5 / 4.0)


def test_a_side_that_was_not_asked_has_no_ratio() -> None:
    assert math.isnan(row("progress", 64, raw=100.0).ratio(RAW, OPENAI))


def test_goals_hold_at_64_environments() -> None:
    rows = [
        row("progress", 1, raw=1.0, bare=100.0),
        row("progress", 64, raw=95.0, bare=100.0),
        row("progress", 320, raw=1.0, bare=100.0),
    ]
    (goal,) = throughput_goals(rows, [])
    assert goal.found == 0.95
    assert goal.met


def test_jpeg_is_compared_with_jpeg() -> None:
    rows = [row("progress", 64, raw=200.0, jpeg=120.0, bare=200.0, openai=100.0)]
    _, against_openai = throughput_goals(rows, [])
    assert against_openai.found == pytest.approx(1.2)
    assert not against_openai.met


def test_an_answer_that_reasons_first_must_be_beaten_by_more() -> None:
    rows = [row("contrastive", 64, raw=100.0, bare=100.0)]
    written = [Written("contrastive", False, 12.0, 10.0), Written("contrastive", True, 128.0, 10.0)]
    _, short, reasoned = throughput_goals(rows, written)
    assert (short.found, reasoned.found) == (10.0, 10.0)
    assert short.met
    assert not reasoned.met
