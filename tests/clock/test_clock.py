"""What the traces leave open: refusals, parts that fail alone, and the configuration."""

from __future__ import annotations

import math

import pytest

from lrm_client.clock import (
    ClockConfig,
    ClockState,
    EpisodeOver,
    Hold,
    Phase,
    ResetMissing,
    Source,
    StepBehind,
    advance,
    due_heads,
    next_query_step,
    open_clock,
    previous_step,
)

TWO = {"contrastive": 0.0, "progress": 0.0}
CONFIG = ClockConfig(interval=3)


def opened(*answered: dict[str, float | None]) -> ClockState:
    """Step 0 and one step for each mapping of outcomes."""
    state, _ = advance(CONFIG, open_clock(TWO), 0)
    for step, outcomes in enumerate(answered, start=1):
        state, _ = advance(CONFIG, state, step, outcomes)
    return state


def test_a_failed_head_is_due_again_alone_and_keeps_its_own_previous_frame() -> None:
    state = opened({}, {}, {"contrastive": None, "progress": 0.5})
    assert due_heads(CONFIG, state, 4) == ("contrastive",)
    assert previous_step(state, "contrastive") == 0
    assert previous_step(state, "progress") == 3
    state, rewards = advance(CONFIG, state, 4, {"contrastive": 1.0})
    assert [(r.source, r.age) for r in rewards] == [(Source.QUERIED, 0), (Source.HELD, 1)]
    assert next_query_step(CONFIG, state) == 6


def test_a_head_that_fails_again_stays_due_until_it_succeeds() -> None:
    state = opened({}, {}, {"contrastive": None, "progress": 0.5}, {"contrastive": None})
    assert due_heads(CONFIG, state, 5) == ("contrastive",)
    state, _ = advance(CONFIG, state, 5, {"contrastive": None})
    assert due_heads(CONFIG, state, 6) == ("contrastive", "progress")


def test_the_age_grows_through_failures() -> None:
    state = opened({}, {}, {"contrastive": 1.0, "progress": 0.5}, {}, {})
    _, rewards = advance(CONFIG, state, 6, {"contrastive": None, "progress": 0.6})
    assert (rewards[0].reward, rewards[0].value, rewards[0].age) == (None, None, 3)


def test_a_forced_query_leaves_the_schedule_where_it_was() -> None:
    state = opened({})
    assert due_heads(CONFIG, state, 2, force=True) == ("contrastive", "progress")
    state, _ = advance(CONFIG, state, 2, {"contrastive": 1.0, "progress": 0.1})
    assert next_query_step(CONFIG, state) == 3


def test_step_zero_is_never_due_whatever_is_asked() -> None:
    state = open_clock(TWO)
    assert due_heads(ClockConfig(interval=1), state, 0, final=True, force=True) == ()
    assert advance(CONFIG, state, 0)[1] == ()


def test_a_failed_final_step_still_ends_the_episode() -> None:
    state, _ = advance(CONFIG, opened(), 1, {"contrastive": None, "progress": None}, final=True)
    assert next_query_step(CONFIG, state) is None
    with pytest.raises(EpisodeOver) as over:
        advance(CONFIG, state, 2)
    assert (over.value.step, over.value.last) == (2, 1)


def test_the_refusals_name_the_step_that_is_expected() -> None:
    with pytest.raises(StepBehind) as behind:
        due_heads(CONFIG, opened({}, {}), 2)
    assert behind.value.expected == 3
    with pytest.raises(ResetMissing) as missing:
        due_heads(CONFIG, open_clock(TWO), 1)
    assert missing.value.expected == 0
    with pytest.raises(StepBehind):
        due_heads(CONFIG, open_clock(TWO), -1)


@pytest.mark.parametrize(
    "outcomes",
    [
        {},
        {"contrastive": 1.0},
        {"contrastive": 1.0, "progress": 0.5, "tri": 0.1},
        {"contrastive": math.nan, "progress": 0.5},
        {"contrastive": math.inf, "progress": 0.5},
    ],
    ids=["none", "one missing", "unknown head", "not a number", "infinite"],
)
def test_outcomes_that_are_no_answer_to_a_due_step_are_refused(
    outcomes: dict[str, float | None],
) -> None:
    with pytest.raises(ValueError):
        advance(CONFIG, opened({}, {}), 3, outcomes)


def test_a_refused_step_leaves_the_state_as_it_was() -> None:
    state = opened({}, {})
    with pytest.raises(ValueError):
        advance(CONFIG, state, 3, {"contrastive": 1.0})
    assert due_heads(CONFIG, state, 3) == ("contrastive", "progress")


def test_spread_pays_the_same_share_at_a_final_step() -> None:
    config = ClockConfig(interval=4, hold=Hold.SPREAD)
    state, _ = advance(config, open_clock({"progress": 0.0}), 0)
    _, rewards = advance(config, state, 1, {"progress": 1.0}, final=True)
    assert rewards[0].reward == 0.25


@pytest.mark.parametrize(
    ("hold", "reward"),
    [(Hold.HOLD, 1 / 3), (Hold.ZERO, 0.0), (Hold.SPREAD, 1 / 30), (Hold.DIFFERENCE, 0.0)],
)
def test_each_mode_pays_its_own_neutral_reward_before_the_first_query(
    hold: Hold, reward: float
) -> None:
    config = ClockConfig(interval=10, scale=2.0, hold=hold)
    state, _ = advance(config, open_clock({"tri": 1 / 6}), 0)
    _, (first,) = advance(config, state, 1)
    assert first.reward == pytest.approx(reward)
    assert (first.value, first.source, first.age) == (1 / 6, Source.NEUTRAL, None)


def test_the_first_difference_is_taken_against_the_neutral_value() -> None:
    config = ClockConfig(interval=1, hold=Hold.DIFFERENCE)
    state, _ = advance(config, open_clock({"tri": 1 / 6}), 0)
    _, (first,) = advance(config, state, 1, {"tri": 0.5})
    assert first.reward == pytest.approx(0.5 - 1 / 6)


def test_an_offset_is_kept_modulo_the_interval_and_only_when_aligned() -> None:
    assert ClockConfig(interval=3, phase=Phase.ALIGNED, offset=7).offset == 1
    assert ClockConfig(interval=3, phase=Phase.ALIGNED, offset=-1).offset == 2
    assert ClockConfig(interval=3, offset=7) == ClockConfig(interval=3)


def test_modes_are_taken_by_their_names() -> None:
    config = ClockConfig(hold="zero", phase="aligned")  # type: ignore[arg-type]
    assert (config.hold, config.phase) == (Hold.ZERO, Phase.ALIGNED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval": 0},
        {"interval": 2.0},
        {"interval": True},
        {"offset": 0.5},
        {"scale": math.nan},
        {"scale": math.inf},
        {"hold": "keep"},
        {"phase": "global"},
    ],
    ids=str,
)
def test_a_configuration_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        ClockConfig(**wrong)  # type: ignore[arg-type]
