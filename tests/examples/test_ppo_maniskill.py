"""The learner of the examples: its arithmetic here, and whole runs in the simulator's Python."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from tests.conftest import LiveServer
from tests.envs.simulator import LAVAPIPE, PYTHON, ROOT, needs_renderer, needs_simulator

EXAMPLES = ROOT / "client" / "examples"
# What only a run needs, and the environment of these tests does not have.
ABSENT = (
    "mani_skill",
    "mani_skill.envs",
    "mani_skill.utils",
    "mani_skill.utils.wrappers",
    "mani_skill.utils.wrappers.gymnasium",
    "torch.utils.tensorboard",
    "tyro",
)


@pytest.fixture(scope="module")
def ppo() -> ModuleType:
    """The example as a module."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ABSENT:
            stand_in = ModuleType(name)
            for part in ("CPUGymWrapper", "SummaryWriter"):
                setattr(stand_in, part, object)
            patched.setitem(sys.modules, name, stand_in)
        spec = importlib.util.spec_from_file_location("ppo", EXAMPLES / "ppo_maniskill.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patched.setitem(sys.modules, "ppo", module)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.2), (0.7, 0.5), (-1.5, 1.3)])
def test_self_certainty_is_the_kl_divergence_from_uniform(
    ppo: ModuleType, mean: float, spread: float
) -> None:
    grid = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    policy = Normal(torch.tensor(mean, dtype=torch.float64), spread)
    # The integral of u log(u / p) with u = 1/2 over [-1, 1].
    integrated = torch.trapezoid(0.5 * (math.log(0.5) - policy.log_prob(grid)), grid)
    closed = ppo.self_certainty(Normal(torch.tensor([mean]), torch.tensor([spread])))
    assert float(closed) == pytest.approx(float(integrated), rel=1e-4)


def test_self_certainty_adds_up_over_actions_and_grows_as_the_policy_sharpens(
    ppo: ModuleType,
) -> None:
    one = ppo.self_certainty(Normal(torch.tensor([0.3]), torch.tensor([0.4])))
    three = ppo.self_certainty(Normal(torch.full((5, 3), 0.3), torch.full((3,), 0.4)))
    assert three.shape == (5,)
    assert torch.allclose(three, 3 * one)
    sharper = ppo.self_certainty(Normal(torch.tensor([0.3]), torch.tensor([0.1])))
    assert float(sharper) > float(one)


def test_advantages_are_those_of_a_hand_computed_episode(ppo: ModuleType) -> None:
    rewards = torch.tensor([[1.0], [0.0], [2.0]])
    values = torch.tensor([[0.5], [1.0], [0.0], [4.0]])
    advantages, known = ppo.advantages_of(rewards, values, gamma=0.5, gae_lambda=0.5)
    # Errors: 1 + 0.5 - 0.5 = 1; 0 + 0 - 1 = -1; 2 + 2 - 0 = 4, with the value after the cut.
    assert advantages[:, 0].tolist() == [1.0 + 0.25 * 0.0, -1.0 + 0.25 * 4.0, 4.0]
    assert known.all()


def test_a_step_without_a_reward_has_no_advantage_and_ends_the_sums_before_it(
    ppo: ModuleType,
) -> None:
    rewards = torch.tensor([[1.0, 1.0], [math.nan, 5.0], [2.0, 2.0]])
    values = torch.tensor([[0.5] * 2, [1.0] * 2, [0.0] * 2, [4.0] * 2])
    advantages, known = ppo.advantages_of(rewards, values, gamma=0.5, gae_lambda=0.5)
    assert known[:, 0].tolist() == [True, False, True]
    assert advantages[:, 0].tolist() == [1.0, 0.0, 4.0]
    assert known[:, 1].all()
    assert not advantages.isnan().any()


class Paying:
    """Two environments whose simulator pays 7 at every step."""

    def reset(self, *, seed: list[int]) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros((len(seed), 3), np.float32), {}

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        observation = np.zeros((len(action), 3), np.float32)
        return observation, np.full(len(action), 7.0), None, None, {}


@pytest.mark.parametrize(
    ("options", "paid"),
    [
        ({"reward": "environment"}, 7.0),
        ({"reward": "progress", "warmup_steps": 4, "certainty": 0.1}, 0.0),
    ],
    ids=["asked for", "after the warm-up"],
)
def test_the_simulators_reward_is_paid_to_none_but_the_learner_that_asks_for_it(
    ppo: ModuleType, options: dict[str, Any], paid: float
) -> None:
    args = ppo.Args(num_envs=2, horizon=4, **options)
    # What the environments show, and the time.
    agent = ppo.Agent(torch.randn(8, 4), 2, args.spread)
    rollout = ppo.roll_out(Paying(), agent, args, 0, scored=False)
    assert rollout.rewards.tolist() == [[paid] * 2] * 4
    assert rollout.observations[:, 0, -1].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def learner_of(
    ppo: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, **options: Any
) -> Any:
    """A learner past the iterations that train the critic alone, cloned from nothing."""

    def clone(args: Any, device: torch.device) -> Any:
        torch.manual_seed(0)
        return ppo.Agent(torch.randn(8, 3), 2, args.spread)

    monkeypatch.setattr(ppo, "clone", clone)
    args = ppo.Args(run=folder, critic_iterations=0, **options)
    return ppo.Learner(args, torch.device("cpu"))


def test_a_lone_reward_in_a_batch_leaves_the_policy_finite(
    ppo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learner = learner_of(ppo, monkeypatch, tmp_path)
    rewards = torch.full((10, 2), math.nan)
    # In four batches, of which the last has one.
    rewards[0, :] = rewards[2, :] = 1.0
    rewards[4, 0] = 1.0
    rollout = ppo.Rollout(torch.randn(11, 2, 3), torch.randn(10, 2, 2), rewards, {})
    learner.learn(rollout)
    assert all(part.isfinite().all() for part in learner.agent.parameters())


def test_a_run_goes_on_with_the_arguments_that_it_began_with(
    ppo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun = learner_of(ppo, monkeypatch, tmp_path)
    begun.iteration = 7
    begun.save()
    assert learner_of(ppo, monkeypatch, tmp_path, iterations=40).iteration == 7
    with pytest.raises(SystemExit, match="a run with other reward, interval: name another --run"):
        learner_of(ppo, monkeypatch, tmp_path, reward="tri", interval=5)


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [PYTHON, "-W", "ignore", EXAMPLES / script, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "client"),
            "VK_ICD_FILENAMES": str(LAVAPIPE),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@needs_simulator
@needs_renderer
def test_the_learner_learns_from_a_served_model_and_goes_on_after_a_stop(
    live_server: LiveServer, tmp_path: Path
) -> None:
    demonstrations = tmp_path / "demonstrations"
    run("maniskill_demonstrations.py", "--episodes", "4", "--to", str(demonstrations))
    with np.load(demonstrations / "PushCube-v1_50.npz") as file:
        shown = file["observations"].shape[0]
        assert 1 <= shown <= 4
        assert file["actions"].shape == (shown, 50, 4)
        assert np.abs(file["actions"]).max() <= 1
    small = (
        *("--demonstrations", str(demonstrations), "--cloned-episodes", str(shown)),
        *("--cloning-steps", "20", "--num-envs", "2", "--evaluation-episodes", "3"),
        *("--critic-iterations", "1", "--server", live_server.grpc),
    )
    paid = tmp_path / "paid"
    for iterations in ("1", "3"):
        run("ppo_maniskill.py", *small, "--run", str(paid), "--iterations", iterations)
    result = json.loads((paid / "result.json").read_text())
    assert result["steps"] == 3 * 2 * 50
    # Every tenth step of each episode was asked, the last included, and no other.
    assert result["queries"] == 3 * 2 * 5
    assert list(result["success"]) == ["0", "1", "3"]
    assert all(len(outcomes) == 3 for outcomes in result["success"].values())

    warm = tmp_path / "warm"
    told = run(
        *("ppo_maniskill.py", *small, "--run", str(warm), "--iterations", "3"),
        *("--warmup-steps", "150", "--certainty", "0.001"),
    )
    assert "asked no more: 20 queries in 200 steps" in told
    assert json.loads((warm / "result.json").read_text())["queries"] == 20
