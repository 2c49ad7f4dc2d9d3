"""The clock against a model that recomputes everything from the whole history."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm_client.clock import (
    ClockConfig,
    ClockError,
    EpisodeOver,
    Hold,
    Phase,
    ResetMissing,
    StepBehind,
    advance,
    due_heads,
    next_query_step,
    open_clock,
    previous_step,
)
from tests.clock.reference_model import ReferenceEpisode

REFUSALS = {
    "episode_ended": EpisodeOver,
    "step_behind": StepBehind,
    "reset_missing": ResetMissing,
}
VALUES = st.floats(-1.0, 1.0, allow_nan=False)


@dataclass(frozen=True)
class Event:
    episode: int
    ahead: int
    final: bool
    force: bool
    answers: dict[str, float | None]


def _mostly(usual: object, *rare: object) -> st.SearchStrategy:
    return st.sampled_from([usual] * 8 + list(rare))


@st.composite
def episodes_and_events(draw: st.DrawFn) -> tuple[list, list[Event]]:
    heads = draw(st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]))
    configs = draw(
        st.lists(
            st.builds(
                ClockConfig,
                interval=st.integers(1, 5),
                scale=st.sampled_from([1.0, 2.0, -0.5, 0.0]),
                hold=st.sampled_from(Hold),
                phase=st.sampled_from(Phase),
                offset=st.integers(0, 9),
            ),
            min_size=1,
            max_size=3,
        )
    )
    neutral = {head: draw(st.sampled_from([0.0, 1 / 6])) for head in heads}
    answer = st.one_of(VALUES, VALUES, st.none())
    events = draw(
        st.lists(
            st.builds(
                Event,
                episode=st.integers(0, len(configs) - 1),
                ahead=_mostly(1, 0, -1, 2, 3, 7),
                final=_mostly(False, True),
                force=_mostly(False, True),
                answers=st.fixed_dictionaries(dict.fromkeys(heads, answer)),
            ),
            max_size=60,
        )
    )
    return [(config, neutral) for config in configs], events


@settings(max_examples=300, deadline=None)
@given(episodes_and_events())
def test_interleaved_episodes_follow_the_reference_model(case: tuple[list, list[Event]]) -> None:
    episodes, events = case
    configs = [config for config, _ in episodes]
    states = [open_clock(neutral) for _, neutral in episodes]
    references = [
        ReferenceEpisode(c.interval, c.scale, c.hold.value, c.phase.value, c.offset, neutral)
        for c, neutral in episodes
    ]
    for event in events:
        config, state = configs[event.episode], states[event.episode]
        reference = references[event.episode]
        step = max(state.step + event.ahead, 0)
        refusal = reference.refusal(step)
        if refusal is not None:
            with pytest.raises(ClockError) as refused:
                due_heads(config, state, step, final=event.final, force=event.force)
            assert type(refused.value) is REFUSALS[refusal]
            continue
        due = due_heads(config, state, step, final=event.final, force=event.force)
        assert list(due) == reference.due(step, event.final, event.force)
        assert [previous_step(state, head) for head in due] == [reference.previous(h) for h in due]
        outcomes = {head: event.answers[head] for head in due}
        states[event.episode], rewards = advance(config, state, step, outcomes, final=event.final)
        expected = reference.take(step, outcomes, event.final)
        got = [(r.head, r.reward, r.value, r.source.value, r.age) for r in rewards]
        for have, want in zip(got, expected, strict=True):
            assert have == pytest.approx(want) if want[1] is not None else have == want
        assert next_query_step(config, states[event.episode]) == reference.next_query_step()


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(0, 12),
    st.sampled_from(list(Phase)),
    st.lists(VALUES, max_size=20),
)
def test_a_dense_episode_is_due_exactly_at_the_next_query_step(
    interval: int, offset: int, phase: Phase, values: list[float]
) -> None:
    config = ClockConfig(interval=interval, phase=phase, offset=offset)
    state, _ = advance(config, open_clock({"a": 0.0}), 0)
    for step, value in enumerate(values, start=1):
        announced = next_query_step(config, state)
        due = due_heads(config, state, step)
        assert bool(due) == (announced == step)
        state, _ = advance(config, state, step, dict.fromkeys(due, value))
