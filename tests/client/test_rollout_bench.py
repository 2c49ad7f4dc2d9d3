"""The rollout benchmark: its three kinds of rollout do the same work."""

from __future__ import annotations

import numpy as np
import pytest

from bench.rollout import MODES, Bench, Plan
from bench.stepping import SimulatedEnvironments
from lrm_client import RewardClient
from tests.client.scripted import ScriptedCore, problem

PLAN = Plan(environments=2, heads=("progress",), interval=3, steps=9, rounds=3)


class CountedEnvironments:
    def __init__(self) -> None:
        self.done: list[str] = []
        self._seed = 0

    def reset(self, seed: int) -> None:
        self._seed = seed
        self.done = []

    def step(self) -> None:
        self.done.append("step")

    def render(self, indices: np.ndarray) -> np.ndarray:
        self.done.append(f"render {indices.tolist()}")
        return np.full((len(indices), 4, 5, 3), self._seed % 256, np.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_steps_and_renders_the_same(
    grpc_client: RewardClient, core: ScriptedCore, mode: str
) -> None:
    environments = CountedEnvironments()
    assert Bench(grpc_client, PLAN).rollout(mode, environments) > 0
    both = "render [0, 1]"
    assert environments.done == [both, *(["step"] * 3 + [both]) * 3]
    assert len(core.asked) == (0 if mode == "without" else 3 * 2)
    assert core.episodes == {}


def test_no_rollout_shows_frames_that_another_showed(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    row = Bench(grpc_client, PLAN).row(CountedEnvironments())
    assert row.stepping == pytest.approx(row.without / 3)
    assert row.scoring == pytest.approx((row.blocking - row.without) / 3)
    shown = [asked.frame[0] for asked in core.asked]
    assert len(shown) == 2 * 3 * 3 * 2
    assert len(set(shown)) == 2 * 3


@pytest.mark.parametrize("mode", ["blocking", "submitted"])
def test_a_rollout_without_all_its_rewards_is_no_figure(
    grpc_client: RewardClient, core: ScriptedCore, mode: str
) -> None:
    core.answer = lambda asked: problem("label_mass_low") if asked.step == 6 else 0.5
    with pytest.raises(RuntimeError, match=f"{mode}.* not valid"):
        Bench(grpc_client, PLAN).rollout(mode, CountedEnvironments())


def test_simulated_environments_show_new_frames_at_every_step() -> None:
    environments = SimulatedEnvironments(3, 0.0)
    environments.reset(7)
    first = environments.render(np.array([0, 2]))
    environments.step()
    assert first.shape[0] == 2
    assert not (environments.render(np.array([0, 2])) == first).all()
