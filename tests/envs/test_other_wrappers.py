"""Gymnasium's own wrappers and vectors around the adapters."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from lrm_client.envs.single import FixedHorizon, RewardEnv
from lrm_client.envs.vector import RewardVectorEnv
from tests.client.scripted import ScriptedCore
from tests.envs.counting import TASK, Counting, client_of, counting_core

N = 2
ACTIONS = np.zeros(N, np.int64)


def horizons(mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> SyncVectorEnv:
    """Environments of fixed length 3 and 4, that would terminate before."""
    return SyncVectorEnv(
        [lambda at=at: FixedHorizon(Counting(at, (2, 2), True), 3 + at) for at in range(N)],
        autoreset_mode=mode,
    )


def rewarded(core: ScriptedCore, env: SyncVectorEnv) -> RewardVectorEnv:
    return RewardVectorEnv(
        env, client_of(core), TASK, ["progress"], interval=3, camera="observation/camera"
    )


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_episode_statistics_are_of_the_models_rewards(mode: AutoresetMode) -> None:
    env = RecordEpisodeStatistics(rewarded(counting_core(), horizons(mode)))
    env.reset()
    for _ in range(4):
        _, _, terminations, truncations, infos = env.step(ACTIONS)
        assert not terminations.any()
    assert list(env.length_queue) == [3, 4]
    # 0, 0, 0.003; and 0, 0, 0.103, 0.104.
    assert list(env.return_queue) == pytest.approx([0.003, 0.207])
    assert truncations.tolist() == [False, True]
    assert infos["episode"]["r"][1] == pytest.approx(0.207)


def test_infos_have_the_masks_that_wrappers_read_them_by() -> None:
    env = rewarded(counting_core(), horizons())
    env.reset()
    infos = env.step(ACTIONS)[4]
    parts = [infos, infos["lrm"], infos["lrm"]["heads"], infos["lrm"]["heads"]["progress"]]
    for part in parts:
        masks = {name for name in part if name.startswith("_")}
        assert masks == {f"_{name}" for name in part if not name.startswith("_")}
        assert all(part[name].tolist() == [True] * N for name in masks)


def test_infos_can_be_made_a_list() -> None:
    env = DictInfoToList(rewarded(counting_core(), horizons()))
    env.reset()
    infos = [env.step(ACTIONS)[4] for _ in range(3)][-1]
    assert infos[1]["lrm"]["step"] == 3
    assert infos[1]["lrm"]["heads"]["progress"]["reward"] == pytest.approx(0.103)
    assert infos[0]["lrm"]["heads"]["progress"]["source"] == "queried"


def test_a_vector_of_rewarded_environments_gathers_their_infos() -> None:
    core = counting_core()

    def made(at: int) -> RewardEnv:
        env = Counting(at, (2,), True)
        return RewardEnv(env, client_of(core), TASK, ["progress"], interval=2, horizon=3)

    env = SyncVectorEnv([partial(made, at) for at in range(N)])
    env.reset()
    rows = [env.step(ACTIONS) for _ in range(5)]
    assert np.asarray([row[1] for row in rows]) == pytest.approx(
        np.array([[0, 0], [0.002, 0.102], [0.003, 0.103], [0, 0], [0, 0]])
    )
    told = rows[1][4]["lrm"]
    assert told["heads"]["progress"]["value"] == pytest.approx([0.002, 0.102])
    assert told["step"].tolist() == [2, 2]


def test_environments_below_a_wrapper_are_rendered_one_by_one() -> None:
    inner = SyncVectorEnv([lambda at=at: FixedHorizon(Counting(at), 5 + at) for at in range(N)])
    env = RewardVectorEnv(VectorWrapper(inner), client_of(counting_core()), TASK, ["progress"])
    env.reset()
    for _ in range(5):
        env.step(ACTIONS)
    assert inner.envs[0].unwrapped.rendered == [(0, 0), (0, 5)]
    assert inner.envs[1].unwrapped.rendered == [(0, 0)]


def test_a_wrapper_that_renders_is_asked_once_a_call() -> None:
    class Inverting(VectorWrapper):
        pictures = 0

        def render(self) -> tuple[np.ndarray, ...]:
            self.pictures += 1
            return tuple(255 - frame for frame in super().render())

    core, inner = counting_core(), Inverting(horizons())
    env = RewardVectorEnv(inner, client_of(core), TASK, ["progress"], interval=4)
    env.reset()
    for _ in range(4):
        env.step(ACTIONS)
    # At the reset; at the first one's end; at the second one's, where the first is reset.
    assert inner.pictures == 3
    assert [tuple(asked.frame[:3]) for asked in core.asked] == [(255, 255, 252), (254, 255, 251)]
