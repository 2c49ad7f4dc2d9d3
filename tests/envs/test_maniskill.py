"""What the steps of ManiSkill's environments are paid, and what they say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lrm_client import RewardsFailed
from lrm_client.envs.maniskill import SOURCE_CODES
from tests.client.scripted import Asked, ScriptedCore, problem
from tests.envs.maniskill_rig import still, telling_core, wrapped
from tests.envs.maniskill_stub import StubAutoreset, shown

WORDS = {code: word for word, code in SOURCE_CODES.items()}


@pytest.fixture
def core() -> ScriptedCore:
    return telling_core()


def test_what_a_step_returns_is_tensors_on_the_environments_device(core: ScriptedCore) -> None:
    env = wrapped(core)
    env.reset()
    for _ in range(3):
        _, reward, terminated, truncated, info = env.step(still(env))
    assert (reward.dtype, reward.shape, reward.device) == (torch.float32, (3,), env.device)
    assert terminated.dtype == truncated.dtype == torch.bool
    told = info["lrm"]
    head = told["heads"]["progress"]
    dtypes = {name: value.dtype for name, value in {**told, **head}.items() if name != "heads"}
    assert dtypes == {
        "environment": torch.float32,
        "step": torch.int32,
        "valid": torch.bool,
        "reward": torch.float32,
        "value": torch.float32,
        "source": torch.int8,
        "age": torch.int32,
    }
    assert told["environment"].tolist() == [103.0, 203.0, 303.0]
    assert head["value"].tolist() == pytest.approx([0.3] * 3)
    assert torch.equal(info["success"], torch.zeros(3, dtype=torch.bool))


@pytest.mark.parametrize("deferred", [False, True])
def test_rewards_are_blended_with_the_environments_own(core: ScriptedCore, deferred: bool) -> None:
    env = wrapped(core, count=2, weight=0.75, scale=2.0, deferred=deferred)
    env.reset()
    returned = torch.stack([env.step(still(env))[1] for _ in range(4)])
    rewards = env.gather().rewards if deferred else returned.numpy()
    own = np.array([[101, 201], [102, 202], [103, 203], [104, 204]])
    model = np.array([[0, 0], [0, 0], [0.6, 0.6], [0.6, 0.6]])
    assert rewards == pytest.approx(0.25 * own + 0.75 * model)
    assert bool(returned.isnan().all()) is deferred


def test_with_weight_one_nothing_of_the_environments_reward_is_paid(core: ScriptedCore) -> None:
    env = wrapped(core, count=2)
    env.reset()
    base = env.unwrapped
    original = base.step

    def spoiled(action: Any) -> Any:
        observation, _, *rest = original(action)
        return observation, torch.tensor([torch.nan, torch.inf]), *rest

    base.step = spoiled
    rewards = [env.step(still(env))[1].tolist() for _ in range(4)]
    assert rewards == [pytest.approx([value] * 2) for value in (0.0, 0.0, 0.3, 0.3)]


def test_deferred_rewards_are_those_of_waiting(core: ScriptedCore) -> None:
    def rollout(deferred: bool) -> tuple[Any, np.ndarray]:
        env = wrapped(core, deferred=deferred)
        envs = StubAutoreset(env)
        envs.reset()
        rewards = []
        for step in range(1, 9):
            _, reward, *_, infos = envs.step(still(env))
            rewards.append(reward.numpy())
            told = infos.get("final_info", infos)["lrm"]
            assert told.keys() - {"environment", "step"} == (
                set() if deferred else {"valid", "heads"}
            )
            if step == 2:
                envs.reset(options={"env_idx": torch.tensor([1])})
        return env, np.stack(rewards)

    _, expected = rollout(deferred=False)
    env, returned = rollout(deferred=True)
    gathered = env.gather()
    assert np.isnan(returned).all()
    assert gathered.rewards.tolist() == expected.tolist()
    assert gathered.valid.all()
    # The stub writes each step's reward into the tensor of the last one.
    assert gathered.environment[:, 0].tolist() == [101, 102, 103, 104, 105, 101, 102, 103]
    assert gathered.model.step[:, 1].tolist() == [1, 2, 1, 2, 3, 4, 5, 1]
    assert env.gather().rewards.shape == (0, 3)


def test_what_a_learner_writes_into_tensors_does_not_reach_what_is_gathered(
    core: ScriptedCore,
) -> None:
    env = wrapped(core, count=2, deferred=True)
    env.reset()
    for _ in range(3):
        _, reward, _, _, info = env.step(still(env))
        for tensor in (reward, info["lrm"]["environment"], info["lrm"]["step"]):
            tensor[:] = 7
    gathered = env.gather()
    assert gathered.environment[:, 0].tolist() == [101, 102, 103]
    assert gathered.rewards[:, 0].tolist() == pytest.approx([0.0, 0.0, 0.3])


def failing(core: ScriptedCore, environment: int, step: int) -> None:
    """Lets one environment's query fail, at one step."""
    answer = core.answer

    def scripted(asked: Asked) -> Any:
        frame = shown(asked.frame)
        failed = (frame.environment, frame.step) == (environment, step)
        return problem("label_mass_low") if failed else answer(asked)

    core.answer = scripted


@pytest.mark.parametrize(("failure", "kept"), [("mask", np.nan), ("hold", 0.3)])
def test_a_failure_is_marked_and_the_next_step_is_due(
    core: ScriptedCore, failure: Any, kept: float
) -> None:
    env = wrapped(core, count=2, steps=20, failure=failure)
    env.reset()
    failing(core, environment=1, step=6)
    taken = [env.step(still(env)) for _ in range(7)]
    (_, failed, *_, info), (_, after, *_) = taken[5:]
    assert failed.tolist() == pytest.approx([0.6, kept], nan_ok=True)
    assert info["lrm"]["valid"].tolist() == [True, False]
    head = info["lrm"]["heads"]["progress"]
    assert [WORDS[code] for code in head["source"].tolist()] == ["queried", "failed"]
    assert after.tolist() == pytest.approx([0.6, 0.7])


def test_a_failure_is_raised_unless_told_otherwise(core: ScriptedCore) -> None:
    env = wrapped(core, count=2, interval=1)
    env.reset()
    failing(core, environment=1, step=1)
    with pytest.raises(RewardsFailed, match="environment 1 "):
        env.step(still(env))
    assert env.step(still(env))[1].tolist() == pytest.approx([0.2, 0.2])


def test_gathering_what_was_not_deferred_is_refused(core: ScriptedCore) -> None:
    with pytest.raises(RuntimeError, match="deferred=True"):
        wrapped(core).gather()
