"""The clock against the specification's worked traces."""

from __future__ import annotations

import pytest

from lrm_client.clock import (
    EpisodeOver,
    StepBehind,
    advance,
    due_heads,
    next_query_step,
    open_clock,
    previous_step,
)
from tests.clock.traces import TRACES, Trace

REFUSALS = {"step_behind": StepBehind, "episode_ended": EpisodeOver}


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_the_clock_follows_the_worked_trace(trace: Trace) -> None:
    config, state = trace.config, open_clock(trace.neutral)
    for event in trace.steps:
        if event.refused is not None:
            with pytest.raises(REFUSALS[event.refused]):
                due_heads(config, state, event.step, final=event.final, force=event.force)
            with pytest.raises(REFUSALS[event.refused]):
                advance(config, state, event.step, event.values, final=event.final)
            continue
        due = due_heads(config, state, event.step, final=event.final, force=event.force)
        assert set(due) == set(event.values), f"due at step {event.step}"
        assert {head: previous_step(state, head) for head in due} == event.previous
        state, rewards = advance(config, state, event.step, event.values, final=event.final)
        assert {r.head: r.reward for r in rewards} == pytest.approx(event.rewards)
        assert {r.head: r.source.value for r in rewards} == event.sources
        assert {r.head: r.age for r in rewards} == event.ages
        if event.step in trace.next_query_step:
            assert next_query_step(config, state) == trace.next_query_step[event.step]


def test_frames_are_needed_at_step_zero_and_at_due_steps_alone() -> None:
    plain = TRACES[0]
    state = open_clock(plain.neutral)
    needed = []
    for event in plain.steps:
        if event.step == 0 or due_heads(plain.config, state, event.step):
            needed.append(event.step)
        state, _ = advance(plain.config, state, event.step, event.values)
    assert needed == [0, 3, 6]
