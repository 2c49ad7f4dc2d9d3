"""What runs in the simulator's environment, for tests that run in the server's.

``python -m tests.envs.maniskill_process trace|rollout TARGET`` prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from typing import Any

import gymnasium as gym
import mani_skill.envs  # noqa: F401  (registers the environments)
import numpy as np
import torch
from mani_skill.vector.wrappers.gymnasium import ManiSkillVectorEnv

from lrm_client import Query, RewardClient
from lrm_client.envs.maniskill import ManiSkillRewardEnv
from tests.envs.maniskill_trace import trace

TASK = "Push the blue cube into the target circle."
HEADS = ("progress", "contrastive")
INTERVAL, HORIZON, STEPS = 3, 7, 10
# The simulator calls it a success from this step on.
SUCCEEDS = 4


def rollout(client: RewardClient) -> dict[str, Any]:
    """Ten steps of PushCube-v1 over the end of an episode of seven, once for each way to wait."""
    made = gym.make(
        "PushCube-v1",
        num_envs=1,
        obs_mode="state",
        sim_backend="cpu",
        render_backend="cpu",
        render_mode="rgb_array",
        human_render_camera_configs={"width": 128, "height": 128},
        max_episode_steps=HORIZON,
    )
    frames = Frames(made.unwrapped)
    told = {name: _steps(made, client, frames, name == "deferred") for name in ("now", "deferred")}
    told["sensor"] = _sensor(made, client)
    made.close()
    return told


class Frames:
    """Keeps every frame that is rendered, by episode and step."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.episode = -1
        self.seen: dict[tuple[int, int], np.ndarray] = {}
        self._render, base.render_rgb_array = base.render_rgb_array, self._kept

    def _kept(self) -> torch.Tensor:
        frame = self._render()
        step = int(self.base.elapsed_steps[0])
        if step == 0:
            self.episode += 1
        assert (self.episode, step) not in self.seen, "rendered twice"
        self.seen[self.episode, step] = frame[0].numpy().copy()
        return frame

    def again(self) -> np.ndarray:
        """The state as it is now, rendered once more."""
        return self._render()[0].numpy()

    def start(self) -> None:
        self.episode = -1
        self.seen.clear()


def _steps(made: Any, client: RewardClient, frames: Frames, deferred: bool) -> dict[str, Any]:
    frames.start()
    base = made.unwrapped
    env = ManiSkillRewardEnv(
        made, client, TASK, HEADS, interval=INTERVAL, use="expected", deferred=deferred
    )
    envs = ManiSkillVectorEnv(env, auto_reset=True, record_metrics=True)
    envs.reset(seed=3)
    told: dict[str, Any] = {
        "rewards": [],
        "steps": [],
        "ended": [],
        "success": [],
        "compared": [],
        "valid": [],
    }
    for step in range(1, STEPS + 1):
        if step == SUCCEEDS:
            _put_on_the_goal(base)
        _, reward, terminated, truncated, infos = envs.step(torch.full((1, 8), 0.7))
        last = infos.get("final_info", infos)
        told["rewards"].append(reward.item())
        told["steps"].append(last["lrm"]["step"].item())
        told["ended"].append((terminated.item(), truncated.item()))
        told["success"].append(last["success"].item())
        if not deferred:
            told["valid"].append(last["lrm"]["valid"].item())
            told["compared"].append(last["lrm"]["heads"]["contrastive"]["value"].item())
        if truncated:
            told["shows_the_reset"] = bool((frames.again() == frames.seen[1, 0]).all())
    if deferred:
        gathered = env.gather()
        told["rewards"] = gathered.rewards[:, 0].tolist()
        told["valid"] = gathered.valid[:, 0].tolist()
    told["rendered"] = [list(key) for key in frames.seen]
    told["change"] = float(np.abs(frames.seen[0, HORIZON] - frames.seen[1, 0].astype(float)).max())
    told["stateless"] = _stateless(client, frames.seen)
    env._episodes.close()
    return told


def _put_on_the_goal(base: Any) -> None:
    pose = base.obj.pose
    place = pose.p.clone()
    place[:, :2] = base.goal_region.pose.p[:, :2]
    pose.p = place
    base.obj.set_pose(pose)


def _stateless(
    client: RewardClient, seen: dict[tuple[int, int], np.ndarray]
) -> dict[str, list[list[Any]]]:
    """What every head says of every frame after an episode's first, without an episode."""
    pairs = [(last, key) for last, key in pairwise(seen) if key[1]]
    told = {}
    for head in HEADS:
        queries = [
            Query(
                head,
                TASK,
                seen[key],
                previous=seen[last] if head == "contrastive" else None,
                initial=seen[key[0], 0] if head == "progress" else None,
                use="expected",
            )
            for last, key in pairs
        ]
        replies = client.score_batch(queries)
        told[head] = [[*key, reply.value] for (_, key), reply in zip(pairs, replies, strict=True)]
    return told


def _sensor(made: Any, client: RewardClient) -> dict[str, Any]:
    """A frame of the policy's camera, beside what the simulator itself gives for it."""
    seen: list[np.ndarray] = []
    env = ManiSkillRewardEnv(made, client, TASK, HEADS, camera="sensor/base_camera")
    read = env._read
    env._read = lambda observation, due: seen.append(read(observation, due)) or seen[-1]
    env.reset(seed=3)
    theirs = made.unwrapped.get_sensor_images()["base_camera"]["rgb"].numpy()
    env._episodes.close()
    return {"shape": seen[0].shape, "same": bool((seen[0] == theirs).all())}


if __name__ == "__main__":
    kind, target = sys.argv[1:]
    with RewardClient(target) as connected:
        result = trace(ManiSkillVectorEnv, connected) if kind == "trace" else rollout(connected)
    sys.stdout.write(f"\n{json.dumps(result)}\n")
