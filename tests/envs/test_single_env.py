"""One Gymnasium environment whose reward comes from a model."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import TimeLimit

from lrm_client import EpisodeEnded, RewardsFailed
from lrm_client.envs.single import FixedHorizon, RewardEnv
from tests.client.scripted import ScriptedCore, problem
from tests.envs.counting import TASK, Counting, client_of, counting_core, sent


def rewarded(core: ScriptedCore, env: gym.Env, **options: Any) -> RewardEnv:
    given = {"interval": 3, **options}
    return RewardEnv(env, client_of(core), TASK, ["progress"], **given)


def episode(env: gym.Env) -> list[tuple[Any, ...]]:
    """Each step's reward, flags and info, up to the end."""
    env.reset(seed=1)
    steps: list[tuple[Any, ...]] = []
    while not steps or not (steps[-1][1] or steps[-1][2]):
        steps.append(env.step(0)[1:])
    return steps


@pytest.mark.parametrize("camera", ["render", "observation/camera"])
def test_rewards_of_an_episode(camera: str) -> None:
    core = counting_core()
    steps = episode(rewarded(core, Counting(lengths=(7,)), horizon=7, camera=camera))
    assert [step[0] for step in steps] == pytest.approx([0, 0, 0.003, 0.003, 0.003, 0.006, 0.007])
    assert [step[1:3] for step in steps] == [(False, False)] * 6 + [(False, True)]
    assert sent(core, initial=True) == [(0, 0, 0)]
    assert sent(core, initial=False) == [(0, 0, 3), (0, 0, 6), (0, 0, 7)]


def test_frames_are_rendered_only_where_they_are_sent() -> None:
    inner = Counting()
    episode(rewarded(counting_core(), inner, horizon=7))
    assert inner.rendered == [(0, 0), (0, 3), (0, 6), (0, 7)]


def test_a_function_may_render() -> None:
    inner, asked, core = Counting(), [], counting_core()

    def camera(indices: np.ndarray) -> np.ndarray:
        asked.append(indices.tolist())
        return inner.render()[None]

    episode(rewarded(core, inner, horizon=4, camera=camera))
    assert asked == [[0]] * 3
    assert sent(core, initial=False) == [(0, 0, 3), (0, 0, 4)]


def test_the_parts_of_a_reward_are_numbers_and_words() -> None:
    steps = episode(rewarded(counting_core(), Counting(), horizon=3, scale=2.0, weight=0.5))
    reward, *_, info = steps[-1]
    assert reward == pytest.approx(0.5 * 30.0 + 0.5 * 0.006)
    told = info["lrm"]
    head = told.pop("heads")["progress"]
    assert told == {"environment": 30.0, "step": 3, "valid": True}
    numbers = {"reward": 0.006, "value": 0.003, "age": 0}
    assert {name: head.pop(name) for name in numbers} == pytest.approx(numbers)
    assert head == {"valid": True, "source": "queried", "error": ""}
    kinds = {type(part) for part in (*told.values(), *head.values())}
    assert kinds == {float, int, bool, str}
    first = steps[0][-1]["lrm"]["heads"]["progress"]
    assert (first["source"], first["age"]) == ("neutral", -1)


def test_the_own_reward_does_not_reach_the_learner_unless_asked_for() -> None:
    class Undefined(Counting):
        def step(self, action: Any) -> Any:
            observation, _, *rest = super().step(action)
            return observation, float("nan"), *rest

    steps = episode(rewarded(counting_core(), Undefined(), horizon=3))
    assert [step[0] for step in steps] == pytest.approx([0.0, 0.0, 0.003])


def test_an_ignored_termination_does_not_show_in_the_length_of_an_episode() -> None:
    for lengths in ((2,), ()):
        env = rewarded(counting_core(), Counting(lengths=lengths, terminates=True), horizon=5)
        steps = episode(env)
        assert len(steps) == 5
        assert [step[1] for step in steps] == [False] * 5
        assert [step[0] for step in steps] == pytest.approx([0, 0, 0.003, 0.003, 0.005])


def test_a_time_limit_is_a_horizon_too() -> None:
    limited = TimeLimit(Counting(lengths=(2,), terminates=True), 4)
    steps = episode(rewarded(counting_core(), limited))
    assert [step[1:3] for step in steps] == [(False, False)] * 3 + [(False, True)]


def test_a_kept_termination_ends_the_episode() -> None:
    core = counting_core()
    env = rewarded(core, Counting(lengths=(2,), terminates=True), terminations="keep")
    steps = episode(env)
    assert [step[0] for step in steps] == pytest.approx([0.0, 0.002])
    assert steps[-1][1:3] == (True, False)
    with pytest.raises(EpisodeEnded):
        env.step(0)
    assert len(episode(rewarded(core, Counting(lengths=(1,)), terminations="keep"))) == 1


def test_an_episode_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon="):
        rewarded(counting_core(), Counting())
    with pytest.raises(ValueError, match="TimeLimit"):
        rewarded(counting_core(), Counting(), terminations="keep", horizon=3)


def test_a_fixed_horizon_truncates_exactly_there() -> None:
    env = FixedHorizon(Counting(lengths=(2, 3), terminates=True), 3)
    for _ in range(2):
        assert [step[1:3] for step in episode(env)] == [(False, False)] * 2 + [(False, True)]


def test_a_horizon_beyond_the_environments_own_is_refused() -> None:
    env = FixedHorizon(Counting(lengths=(2,)), 3)
    env.reset()
    env.step(0)
    with pytest.raises(RuntimeError, match="at step 2, before the horizon of 3"):
        env.step(0)
    limited = Counting()
    limited.spec = gym.envs.registration.EnvSpec("Counting-v0", max_episode_steps=5)
    with pytest.raises(ValueError, match="at step 5, before the horizon of 6"):
        FixedHorizon(limited, 6)
    with pytest.raises(ValueError, match="at least 1"):
        FixedHorizon(limited, 0)


def test_no_time_limit_is_no_horizon() -> None:
    unlimited = Counting()
    unlimited.spec = gym.envs.registration.EnvSpec("Counting-v0", max_episode_steps=-1)
    with pytest.raises(ValueError, match="horizon="):
        rewarded(counting_core(), unlimited)
    assert len(episode(rewarded(counting_core(), unlimited, horizon=3))) == 3


def test_a_masked_failure_is_nan_and_the_next_step_is_asked() -> None:
    core = counting_core()
    failures = iter([problem("label_mass_low")])
    core.answer = lambda asked: next(failures, 0.5)
    steps = episode(rewarded(core, Counting(), horizon=5, failure="mask"))
    rewards = [step[0] for step in steps]
    assert rewards == pytest.approx([0.0, 0.0, np.nan, 0.5, 0.5], nan_ok=True)
    parts = [step[-1]["lrm"] for step in steps]
    assert [part["valid"] for part in parts] == [True, True, False, True, True]
    assert parts[2]["heads"]["progress"]["source"] == "failed"
    assert parts[2]["heads"]["progress"]["error"]


def test_a_failure_is_raised_unless_told_otherwise() -> None:
    core = counting_core()
    core.answer = lambda asked: problem("label_mass_low")
    with pytest.raises(RewardsFailed):
        episode(rewarded(core, Counting(), horizon=5))


def test_deferred_rewards_are_gathered() -> None:
    core = counting_core()
    env = rewarded(core, Counting(), horizon=4, deferred=True, weight=0.5)
    steps = [step for _ in range(2) for step in episode(env)]
    assert np.isnan([step[0] for step in steps]).all()
    gathered = env.gather()
    model = np.array([0, 0, 0.003, 0.004, 0, 0, 0.013, 0.014])
    assert gathered.rewards.shape == (8, 1)
    assert gathered.rewards[:, 0] == pytest.approx(0.5 * np.array([10, 20, 30, 40] * 2) + model / 2)
    assert gathered.valid.all()
    with pytest.raises(RuntimeError, match="deferred=True"):
        rewarded(core, Counting(), horizon=4).gather()


def test_a_task_that_is_set_holds_from_the_next_reset_on() -> None:
    core = counting_core()
    env = rewarded(core, Counting(), horizon=4)
    env.reset()
    env.task = "count backwards"
    assert env.task == "count backwards"
    env.step(0)
    env.reset()
    tasks = [r.episodes[0].task for method, r in core.requests if method == "OpenEpisodes"]
    assert tasks == [TASK, "count backwards"]


def test_closing_closes_the_episode_and_the_environment() -> None:
    class Closing(Counting):
        closed = False

        def close(self) -> None:
            self.closed = True

    core, inner = counting_core(), Closing()
    env = rewarded(core, inner, horizon=4)
    env.reset()
    assert len(core.episodes) == 1
    env.close()
    env.close()
    assert not core.episodes
    assert inner.closed


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasium_finds_a_proper_environment() -> None:
    class Repeating(Counting):
        def reset(self, **options: Any) -> Any:
            self._episode = -1
            return super().reset(**options)

    check_env(rewarded(counting_core(), Repeating(), interval=1, horizon=4))
