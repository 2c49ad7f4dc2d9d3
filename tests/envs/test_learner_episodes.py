"""What a learner is paid, whatever the adapter."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_client import RewardsFailed
from lrm_client.envs.learner_episodes import LearnerEpisodes
from lrm_client.envs.learner_rewards import blend, check_weight
from tests.client.direct import DirectClient
from tests.client.scripted import ScriptedCore, problem

FRAMES = np.zeros((2, 4, 5, 3), np.uint8)
NONE = np.zeros(2, np.bool_)


def test_rewards_are_blended_by_the_models_share() -> None:
    blended = blend(0.25, [4.0, 8.0], [1.0, np.nan])
    assert blended.dtype == np.float32
    assert blended == pytest.approx([3.25, np.nan], nan_ok=True)


def test_nothing_of_the_environments_reward_is_in_that_of_the_model_alone() -> None:
    assert blend(1.0, [np.nan, np.inf], [0.5, -0.5]).tolist() == [0.5, -0.5]


def test_a_failure_is_no_reward_even_where_it_has_no_share() -> None:
    assert np.isnan(blend(0.0, [4.0], [np.nan])).all()


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_share_is_within_0_and_1(weight: float) -> None:
    with pytest.raises(ValueError, match="weight must be within 0 and 1"):
        check_weight(weight)


def test_rewards_that_an_environment_overwrites_are_those_of_their_steps() -> None:
    core = ScriptedCore()
    episodes = LearnerEpisodes(
        DirectClient(core), 2, "count", ["progress"], weight=0.5, deferred=True, interval=1
    )
    episodes.reset(FRAMES)
    own = np.zeros(2, np.float32)
    for step in (1, 2):
        own[:] = step
        episodes.step(FRAMES, own, final=NONE)
    gathered = episodes.gather()
    assert gathered.environment.tolist() == [[1, 1], [2, 2]]
    assert gathered.rewards == pytest.approx(np.array([[0.75, 0.75], [1.25, 1.25]]))
    episodes.close()


def test_what_was_gathered_with_a_failure_is_not_gathered_again() -> None:
    core = ScriptedCore()
    answers = iter([problem("label_mass_low"), 0.5])
    core.answer = lambda asked: next(answers, 0.5)
    episodes = LearnerEpisodes(
        DirectClient(core), 2, "count", ["progress"], deferred=True, interval=1
    )
    episodes.reset(FRAMES)
    episodes.step(FRAMES, np.zeros(2), final=NONE)
    with pytest.raises(RewardsFailed) as failed:
        episodes.gather()
    assert failed.value.rewards.rewards == pytest.approx(np.array([[np.nan, 0.5]]), nan_ok=True)
    episodes.step(FRAMES, np.zeros(2), final=NONE)
    assert episodes.gather().rewards.tolist() == [[0.5, 0.5]]
    episodes.close()
