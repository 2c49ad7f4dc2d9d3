"""One episode of one robot, and the worked traces through client and server."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lrm_client import (
    AsyncRewardClient,
    Episode,
    EpisodeEnded,
    EpisodeNotFound,
    EpisodeSpec,
    FrameRequired,
    ModelError,
    RewardClient,
    RewardsFailed,
    Source,
)
from lrm_client.wire import reward_pb2 as pb
from tests.client.direct import DirectClient
from tests.client.scripted import Asked, ScriptedCore, problem
from tests.clock.traces import TRACES, Trace

TASK = "put the cube on the plate"


def frame(step: int) -> np.ndarray:
    return np.full((4, 5, 3), step, np.uint8)


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_an_episode_follows_the_worked_trace(trace: Trace, core: ScriptedCore) -> None:
    """Frames are wanted where the trace queries, and nothing else reaches the server."""
    config = trace.config
    spec = EpisodeSpec(
        TASK,
        list(trace.neutral),
        config.interval,
        config.scale,
        config.hold,
        config.phase,
        config.offset,
    )
    values = {event.step: event.values for event in trace.steps if not event.refused}

    def answer(asked: Asked) -> float | pb.Problem:
        value = values[asked.step][asked.head]
        return problem("label_mass_low") if value is None else value

    core.answer = answer
    episode = Episode(DirectClient(core), spec, failure="mask")
    episode.reset(frame(0))
    queried = []
    for event in trace.steps[1:]:
        if event.refused == "episode_ended":
            with pytest.raises(EpisodeEnded):
                episode.step(frame(event.step))
        # An episode counts its own steps, so it cannot go back or leave a gap.
        if event.refused or event.step != episode.last_step + 1:
            continue
        wanted = episode.wants(truncated=event.final, force=event.force)
        reward = episode.step(
            lambda at=event.step: frame(at), truncated=event.final, force=event.force
        )
        assert wanted == bool(event.values)
        if event.values:
            queried.append(event.step)
        for name, head in reward.heads.items():
            expected = event.rewards[name]
            assert head.source.value == event.sources[name]
            assert head.valid == (expected is not None)
            assert head.reward == pytest.approx(
                math.nan if expected is None else expected, nan_ok=True
            )
            assert head.age == event.ages[name]
    assert sorted({asked.step for asked in core.asked}) == queried
    steps = [r for name, r in core.requests if name == "StepEpisodes"]
    assert [request.steps[0].step for request in steps] == [0, *queried]


def test_a_renderer_is_called_only_when_the_frame_is_wanted(client: RewardClient) -> None:
    rendered: list[int] = []
    episode = client.episode(TASK, ["contrastive"], interval=3)
    episode.reset(frame(0))

    def render(step: int) -> Callable[[], np.ndarray]:
        def now() -> np.ndarray:
            rendered.append(step)
            return frame(step)

        return now

    for step in range(1, 6):
        episode.step(render(step), truncated=step == 5)
    assert rendered == [3, 5]


def test_a_step_tells_its_reward_source_age_and_reply(client: RewardClient) -> None:
    episode = client.episode(TASK, ["contrastive", "progress"], interval=2, scale=2.0)
    episode.reset(frame(0))
    first = episode.step()
    assert (first.reward, first.valid, first.source, first.age) == (0.0, True, Source.NEUTRAL, None)
    assert first.reply is None
    second = episode.step(frame(2))
    assert (second.reward, second.source, second.age) == (1.0, Source.QUERIED, 0)
    assert second.reply is not None
    assert second.reply.label == "yes"
    assert second.heads["progress"].reply is not None
    third = episode.step()
    assert (third.reward, third.source, third.age) == (1.0, Source.HELD, 1)


def test_a_failure_raises_and_the_next_step_is_due(
    client: RewardClient, core: ScriptedCore
) -> None:
    episode = client.episode(TASK, ["progress"], interval=2)
    episode.reset(frame(0))
    episode.step()
    core.answer = lambda asked: problem("answer_unparsable", "not a number")
    with pytest.raises(RewardsFailed, match=r"environment 0 .* answer_unparsable: not a number"):
        episode.step(frame(2))
    assert episode.last_step == 2
    core.answer = lambda asked: 1.0
    assert episode.wants()
    assert episode.step(frame(3)).reward == 1.0


@pytest.mark.parametrize(("failure", "reward"), [("hold", 0.5), ("mask", math.nan)])
def test_the_other_policies_return_an_invalid_reward(
    client: RewardClient, core: ScriptedCore, failure: Any, reward: float
) -> None:
    episode = client.episode(TASK, ["progress"], interval=1, failure=failure)
    episode.reset(frame(0))
    episode.step(frame(1))
    core.answer = lambda asked: problem("label_mass_low")
    step = episode.step(frame(2))
    assert step.reward == pytest.approx(reward, nan_ok=True)
    assert (step.valid, step.source, step.age) == (False, Source.FAILED, 1)
    assert isinstance(step.error, ModelError)


def test_a_due_step_without_a_frame_is_not_taken(client: RewardClient) -> None:
    episode = client.episode(TASK, ["progress"], interval=1)
    episode.reset(frame(0))
    with pytest.raises(FrameRequired) as required:
        episode.step()
    assert required.value.step == 1
    with pytest.raises(FrameRequired):
        episode.step(lambda: None)
    assert episode.last_step == 0
    assert episode.step(frame(1)).source is Source.QUERIED


def test_an_episode_is_reset_before_its_first_and_after_its_final_step(
    client: RewardClient, core: ScriptedCore
) -> None:
    episode = client.episode(TASK, ["progress"])
    assert (episode.id, episode.last_step, episode.wants()) == ("", -1, False)
    with pytest.raises(EpisodeNotFound):
        episode.step(frame(1))
    episode.reset(frame(0))
    first = episode.id
    assert episode.step(frame(1), terminated=True).source is Source.QUERIED
    assert core.episodes == {}
    with pytest.raises(EpisodeEnded):
        episode.step(frame(2))
    episode.reset(frame(0), task="another task")
    assert episode.id != first
    assert core.episodes[episode.id].spec.task == "another task"


def test_the_server_forgets_a_closed_episode(client: RewardClient, core: ScriptedCore) -> None:
    with client.episode(TASK, ["progress"]) as episode:
        episode.reset(frame(0))
        assert list(core.episodes) == [episode.id]
    assert core.episodes == {}


async def test_an_asynchronous_episode_steps_as_a_blocking_one(
    target: str, core: ScriptedCore
) -> None:
    async with (
        AsyncRewardClient(target) as client,
        client.episode(TASK, ["progress"], interval=2) as episode,
    ):
        await episode.reset(frame(0))
        sources = [(await episode.step(frame(step))).source.value for step in range(1, 6)]
        assert sources == ["neutral", "queried", "held", "queried", "held"]
        core.answer = lambda asked: problem("label_mass_low")
        with pytest.raises(RewardsFailed):
            await episode.step(frame(6))
    assert core.episodes == {}


async def test_an_asynchronous_vector_steps_as_a_blocking_one(
    target: str, core: ScriptedCore
) -> None:
    frames = np.stack([frame(at) for at in range(3)])
    async with (
        AsyncRewardClient(target) as client,
        client.vector_episodes(3, TASK, ["progress"], interval=2) as episodes,
    ):
        await episodes.reset(frames)
        assert (await episodes.step()).source.tolist() == ["neutral"] * 3
        assert (await episodes.step(frames)).rewards.tolist() == [0.5] * 3
        rewards = await episodes.step(frames, final=[False, True, False])
        assert rewards.source.tolist() == ["held", "queried", "held"]
        await episodes.reset(frames, [False, True, False])
        assert len(core.episodes) == 3
    assert core.episodes == {}


async def test_the_asynchronous_shorthands_ask_their_heads(target: str, core: ScriptedCore) -> None:
    async with AsyncRewardClient(target) as client:
        await client.contrastive(frame(0), frame(1), TASK)
        await client.progress(frame(1), TASK, initial=frame(0))
        await client.completion(frame(1), TASK)
        opened = await client.open_episodes([EpisodeSpec(TASK, ["progress"], id="one")])
        assert await client.close_episodes(["one", "two"]) == {"one": True, "two": False}
        assert (await client.models()).version == "0.1.0"
    heads = [request.queries[0].head for name, request in core.requests if name == "Score"]
    assert heads == ["contrastive", "progress", "completion"]
    assert opened[0].id == "one"
