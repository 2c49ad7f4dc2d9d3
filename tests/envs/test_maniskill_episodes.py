"""When the episodes of ManiSkill's environments begin and end, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from lrm_client import EpisodeEnded, EpisodeNotFound
from lrm_client.envs.maniskill import ManiSkillRewardEnv
from tests.client.direct import DirectClient
from tests.client.scripted import ScriptedCore, frames_of
from tests.envs.maniskill_rig import TASK, still, telling_core, wrapped
from tests.envs.maniskill_stub import StubAutoreset, StubBaseEnv, StubTimeLimit, shown


@pytest.fixture
def core() -> ScriptedCore:
    return telling_core()


def initial_frames(core: ScriptedCore) -> list[tuple[int, int, int]]:
    """What the frames of every step 0 showed: environment, episode, step."""
    seen = []
    for name, request in core.requests:
        if name == "StepEpisodes":
            frames = frames_of(request.frames)
            seen += [shown(frames[step.frame]) for step in request.steps if step.step == 0]
    return [(frame.environment, frame.episode, frame.step) for frame in seen]


def test_a_final_frame_is_the_one_before_the_reset(core: ScriptedCore) -> None:
    env = wrapped(core, interval=10)
    envs = StubAutoreset(env)
    envs.reset()
    for step in range(1, 6):
        envs.step(still(env))
        if step == 2:
            envs.reset(options={"env_idx": torch.tensor([2])})
    asked = [shown(asked.frame) for asked in core.asked]
    assert [(frame.environment, frame.episode, frame.step) for frame in asked] == [
        (0, 0, 5),
        (1, 0, 5),
    ]
    begun = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0), (1, 1, 0)]
    assert initial_frames(core) == begun
    assert len(core.episodes) == 3


def test_success_neither_ends_an_episode_nor_is_it_told_by_the_reward(core: ScriptedCore) -> None:
    rewards, flags = [], []
    for action in (still(wrapped(core)), torch.ones(3, 1)):
        env = wrapped(core)
        envs = StubAutoreset(env)
        envs.reset()
        taken = [envs.step(action) for _ in range(7)]
        rewards.append([step[1].tolist() for step in taken])
        flags.append([(step[2].tolist(), step[3].tolist()) for step in taken])
    assert rewards[0] == rewards[1]
    assert flags[0] == flags[1]
    assert [terminated for terminated, _ in flags[1]] == [[False] * 3] * 7


def test_terminations_that_are_kept_end_their_episodes(core: ScriptedCore) -> None:
    env = wrapped(core, steps=None, terminations="keep", hold="difference")
    envs = StubAutoreset(env)
    envs.reset()
    envs.step(still(env))
    _, reward, terminated, truncated, infos = envs.step(torch.tensor([[-1.0], [1.0], [-1.0]]))
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert reward.tolist() == pytest.approx([0.0, 0.2, 0.0])
    assert infos["final_info"]["lrm"]["step"].tolist() == [2, 2, 2]
    _, reward, *_, infos = envs.step(still(env))
    # Aligned: all are due at the third step of the whole, the new episode at its first.
    assert reward.tolist() == pytest.approx([0.3, 0.1, 0.3])
    assert infos["lrm"]["step"].tolist() == [3, 1, 3]


def test_an_episode_that_ended_is_reset_before_the_simulator_steps_again(
    core: ScriptedCore,
) -> None:
    env = wrapped(core, steps=2)
    with pytest.raises(EpisodeNotFound, match=r"\[0, 1, 2\]"):
        env.step(still(env))
    env.reset()
    env.step(still(env))
    env.reset(options={"env_idx": [1]})
    env.step(still(env))
    with pytest.raises(EpisodeEnded, match=r"\[0, 2\]"):
        env.step(still(env))
    assert env.unwrapped.acted == 2
    env.reset(options={"env_idx": []})
    env.reset(options={"env_idx": torch.tensor([0, 2])})
    env.step(still(env))


def test_an_episode_is_cut_by_a_reset_of_all(core: ScriptedCore) -> None:
    env = wrapped(core, steps=20, phase="episode")
    env.reset()
    env.step(still(env))
    env.reset()
    rewards = [env.step(still(env))[1].tolist() for _ in range(3)]
    assert rewards == [pytest.approx([value] * 3) for value in (0.0, 0.0, 0.3)]
    assert len(core.episodes) == 3


def test_a_new_task_holds_from_the_next_reset_on(core: ScriptedCore) -> None:
    env = wrapped(core, count=2)
    env.reset()
    env.task = ["open the drawer", "close the drawer"]
    env.reset(options={"env_idx": [1]})
    assert [episode.spec.task for episode in core.episodes.values()] == [TASK, "close the drawer"]


def test_closing_closes_the_episodes_and_leaves_the_client(core: ScriptedCore) -> None:
    env = wrapped(core)
    env.reset()
    assert len(core.episodes) == 3
    env.close()
    env.close()
    assert core.episodes == {}


def test_what_goes_around_it_is_refused_below_it(core: ScriptedCore) -> None:
    env = StubTimeLimit(StubBaseEnv(2), 5)
    with pytest.raises(TypeError, match="goes below ManiSkillVectorEnv"):
        ManiSkillRewardEnv(StubAutoreset(env), DirectClient(core), TASK, ["progress"])


def test_an_environment_without_a_batch_is_refused(core: ScriptedCore) -> None:
    env = wrapped(core)
    env.reset()
    env.env.step = lambda action: (None, 0.0, False, False, {})
    with pytest.raises(TypeError, match=r"truncated must be a tensor of shape \(3,\)"):
        env.step(still(env))


def test_other_environments_are_refused(core: ScriptedCore) -> None:
    with pytest.raises(TypeError, match="RewardVectorEnv"):
        ManiSkillRewardEnv(gym.Env(), DirectClient(core), TASK, ["progress"])


def test_ignored_terminations_need_a_horizon(core: ScriptedCore) -> None:
    with pytest.raises(ValueError, match="max_episode_steps"):
        wrapped(core, steps=None)
    wrapped(core, steps=None, terminations="keep", hold="difference")


@pytest.mark.parametrize(
    ("options", "told"), [({"weight": 1.5}, "weight"), ({"terminations": "drop"}, "terminations")]
)
def test_arguments_out_of_range_are_refused(
    core: ScriptedCore, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        wrapped(core, **options)
