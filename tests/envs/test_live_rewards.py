"""The adapters on a real server: bundled rollouts, shown by an environment."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from PIL import Image

from lrm_client import RewardClient
from lrm_client.envs.single import RewardEnv
from lrm_client.envs.vector import RewardVectorEnv
from tests.conftest import LiveServer
from tests.rollout_frames import episodes
from training.frame_folders import EpisodeFolder

INTERVAL = 3


class Replay(gym.Env):
    """Shows a rollout's frames one after the other, and is truncated with the last."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(1000)
    action_space = gym.spaces.Discrete(2)
    render_mode = "rgb_array"

    def __init__(self, rollout: EpisodeFolder) -> None:
        self._rollout, self._step = rollout, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._step = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self._step += 1
        return self._step, 0.0, False, self._step == len(self._rollout.frames) - 1, {}

    def render(self) -> Any:
        return np.asarray(Image.open(io.BytesIO(self._rollout.jpeg(self._step))).convert("RGB"))


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[RewardClient]:
    with RewardClient(f"grpc://{live_server.grpc}") as connected:
        yield connected


def test_a_success_is_rewarded_at_its_end(client: RewardClient) -> None:
    rollout = next(e for e in episodes() if e.env_id == "PushCube-v1" and e.success)
    length = len(rollout.frames) - 1
    env = RewardEnv(
        Replay(rollout), client, rollout.task, ["progress"], interval=INTERVAL, horizon=length
    )
    env.reset()
    rewards = [env.step(0)[1] for _ in range(length)]
    env.close()
    assert rewards[: INTERVAL - 1] == [0.0] * (INTERVAL - 1)
    assert rewards[-1] >= 0.8
    queried = rewards[INTERVAL - 1 :: INTERVAL]
    assert np.corrcoef(queried, np.arange(len(queried)))[0, 1] > 0.8


@pytest.mark.parametrize("deferred", [False, True])
def test_rewards_of_a_vector_are_those_of_its_rollouts(
    client: RewardClient, deferred: bool
) -> None:
    rollouts = episodes()[:3]
    tasks = [rollout.task for rollout in rollouts]
    envs = SyncVectorEnv(
        [partial(Replay, rollout) for rollout in rollouts], autoreset_mode=AutoresetMode.DISABLED
    )
    env = RewardVectorEnv(envs, client, tasks, ["progress"], interval=INTERVAL, deferred=deferred)
    length = min(len(rollout.frames) for rollout in rollouts) - 1
    env.reset()
    rows = [env.step(np.zeros(3, np.int64))[1] for _ in range(length)]
    rewards = env.gather().rewards if deferred else np.asarray(rows)
    env.close()
    for at, rollout in enumerate(rollouts):
        replies = [
            client.progress(rollout.jpeg(step), rollout.task, initial=rollout.jpeg(0)).value
            for step in range(INTERVAL, length + 1, INTERVAL)
        ]
        # Labels are a tenth apart; another batch may round a tie to its neighbour.
        asked = rewards[INTERVAL - 1 :: INTERVAL, at]
        assert asked == pytest.approx(replies, abs=0.1001)
    assert np.ptp(rewards[INTERVAL - 1 :]) > 0.3
