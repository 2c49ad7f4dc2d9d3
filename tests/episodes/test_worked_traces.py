"""The service against the specification's worked traces."""

from __future__ import annotations

import pytest

from lrm_server.episodes.types import StepAnswer
from lrm_server.errors import DomainError
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.clock.traces import TRACES, Trace, TraceStep
from tests.episodes.support import Bench, failing, shown, step

PARTS_OF_TRACE_9 = {"contrastive": 1.0, "progress": 0.3, "completion": 0.0}


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
async def test_the_service_follows_the_worked_trace(trace: Trace, bench: Bench) -> None:
    by_step = {event.step: event for event in trace.steps if event.refused is None}

    def answer(query: Query) -> float | DomainError:
        if "tri" in trace.neutral:
            return PARTS_OF_TRACE_9[query.head]
        value = by_step[shown(query, Role.CURRENT).step].values[query.head]
        return failing() if value is None else value

    bench.scorer.answers = answer
    opened = await bench.open(*trace.neutral, clock=trace.config)
    assert opened.neutral == pytest.approx(trace.neutral)
    for event in trace.steps:
        await follow(event, trace, bench)


async def follow(event: TraceStep, trace: Trace, bench: Bench) -> None:
    before = len(bench.scorer.queries)
    # A step behind that is told from a retry: this one would be the last.
    final = event.final or event.refused == "step_behind"
    sent = step(event.step, final=final, force=event.force)
    (answer,) = await bench.service.step([sent])
    asked = bench.scorer.queries[before:]
    if event.refused is not None:
        assert isinstance(answer, DomainError)
        assert answer.code.value == event.refused
        assert asked == []
        return
    assert isinstance(answer, StepAnswer)
    assert {query.head for query in asked} == set(event.values)
    for query in asked:
        assert shown(query, Role.CURRENT).step == event.step
        if Role.PREVIOUS in query.frames:
            assert shown(query, Role.PREVIOUS).step == event.previous[query.head]
    assert {head.head: head.reward for head in answer.rewards} == pytest.approx(event.rewards)
    assert {head.head: head.source.value for head in answer.rewards} == event.sources
    assert {head.head: head.age for head in answer.rewards} == event.ages
    if event.step in trace.next_query_step:
        assert answer.next_query_step == trace.next_query_step[event.step]
    # Trace 5: whatever the step, sending it twice is one query and one answer.
    assert (await bench.service.step([sent])) == [answer]
    assert len(bench.scorer.queries) == before + len(asked)


async def test_frames_are_needed_at_step_zero_and_at_due_steps_alone(bench: Bench) -> None:
    await bench.open("progress")
    needed = []
    for number in range(8):
        (answer,) = await bench.service.step([step(number, frame=None)])
        if isinstance(answer, DomainError):
            assert (answer.code.value, answer.step) == ("frame_required", number)
            needed.append(number)
            await bench.take(number)
    assert needed == [0, 3, 6]
