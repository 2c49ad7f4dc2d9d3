"""Episodes by the real client on the real server: both transports give the same rewards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from lrm_client import (
    AsyncRewardClient,
    EpisodeSpec,
    EpisodeStep,
    LrmError,
    RewardClient,
    StepReply,
)
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads import query as server_query
from lrm_server.heads.profile import Role
from tests.api.conftest import ONCE, Served
from tests.api.frames import pixels
from tests.clock.traces import TRACES, Trace, TraceStep
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"
PARTS_OF_TRACE_9 = {"contrastive": 1.0, "progress": 0.3, "completion": 0.0}


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
async def test_an_episode_follows_the_worked_trace(
    client: AsyncRewardClient, scorer: ScriptedScorer, trace: Trace
) -> None:
    frames = {step.step: pixels(seed=step.step) for step in trace.steps}
    events: dict[int, TraceStep] = {}
    at = {frames[step].tobytes(): step for step in frames}

    def answer(query: server_query.Query) -> float | DomainError:
        if "tri" in trace.neutral:
            return PARTS_OF_TRACE_9[query.head]
        event = events[at[query.frames[Role.CURRENT].pixels().tobytes()]]
        value = event.values[query.head]
        return DomainError(ErrorCode.LABEL_MASS_LOW, "scripted") if value is None else value

    config = trace.config
    spec = EpisodeSpec(
        TASK,
        list(trace.neutral),
        interval=config.interval,
        scale=config.scale,
        hold=config.hold,
        phase=config.phase,
        offset=config.offset,
    )
    (opened,) = await client.open_episodes([spec])
    assert not isinstance(opened, LrmError)
    assert opened.neutral == pytest.approx(trace.neutral)
    scorer.answers = answer
    for event in trace.steps:
        if event.refused is None:
            events[event.step] = event
        (reply,) = await client.step_episodes(
            [
                EpisodeStep(
                    opened.id,
                    event.step,
                    frames[event.step] if event.step == 0 or event.values else None,
                    # A step behind that is told from a retry: this one would be the last.
                    final=event.final or event.refused == "step_behind",
                    force=event.force,
                )
            ]
        )
        if event.refused is not None:
            assert isinstance(reply, LrmError)
            assert reply.code == event.refused
            continue
        assert isinstance(reply, StepReply), reply
        rewards = reply.rewards.values()
        assert {r.head: r.reward for r in rewards} == pytest.approx(dict(event.rewards))
        assert {r.head: r.source.value for r in rewards} == event.sources
        assert {r.head: r.age for r in rewards} == event.ages
        if event.step in trace.next_query_step:
            assert reply.next_query_step == trace.next_query_step[event.step]


async def test_closing_says_whether_an_episode_was_open(client: AsyncRewardClient) -> None:
    (opened,) = await client.open_episodes([EpisodeSpec(TASK, ["progress"], id="robot 7: a+b%")])
    assert not isinstance(opened, LrmError)
    assert await client.close_episodes([opened.id]) == {opened.id: True}
    assert await client.close_episodes([opened.id]) == {opened.id: False}


async def test_a_retried_step_gets_the_same_answer_without_a_query(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    (opened,) = await client.open_episodes([EpisodeSpec(TASK, ["progress"], interval=1)])
    assert not isinstance(opened, LrmError)
    frame = pixels()
    await client.step_episodes([EpisodeStep(opened.id, 0, frame)])
    step = EpisodeStep(opened.id, 1, frame, request_id="once")
    (first,) = await client.step_episodes([step])
    (again,) = await client.step_episodes([step])
    assert isinstance(first, StepReply)
    assert isinstance(again, StepReply)
    assert first.rewards == again.rewards
    assert len(scorer.queries) == 1


@pytest_asyncio.fixture
async def blocking(served: Served, transport: str) -> AsyncIterator[RewardClient]:
    target = served.grpc_target if transport == "grpc" else served.http_url
    with RewardClient(target, retry=ONCE, timeout=20.0) as connected:
        yield connected


async def test_vector_episodes_run_through_the_server(
    blocking: RewardClient, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: 0.4

    def rollout() -> tuple[list[list[float]], list[bool]]:
        episodes = blocking.vector_episodes(4, TASK, ["progress"], interval=2)
        episodes.reset(np.stack([pixels(seed=env) for env in range(4)]))
        rewards, valid = [], []
        for _ in range(3):
            step = episodes.step(np.stack([pixels(seed=9 + env) for env in range(4)]))
            rewards.append([float(value) for value in step.rewards])
            valid.append(bool(np.all(step.valid)))
        episodes.close()
        return rewards, valid

    rewards, valid = await asyncio.to_thread(rollout)
    assert rewards == [[0.0] * 4, pytest.approx([0.4] * 4), pytest.approx([0.4] * 4)]
    assert all(valid)
    assert len(scorer.queries) == 4
