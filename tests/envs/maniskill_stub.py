"""Batched environments that behave as ManiSkill's do, without a simulator.

What is ManiSkill's here was read in its sources, 3.0.1: the environment counts its own steps
and never truncates, its time limit looks at that count, a partial reset names its environments
in ``options["env_idx"]``, rendering is of all environments at once, and pixels are a slice of
RGBA textures. A frame of the stub shows which environment it is of, which of its episodes, the
step, and whether markers that sensors are not to see were visible.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

HEIGHT, WIDTH = 4, 5


class StubSensor:
    """A camera of the policy; ``capture`` keeps what it saw until it is read."""

    def __init__(self, base: StubBaseEnv) -> None:
        self._base = base
        self._seen: torch.Tensor | None = None
        self.captures = 0

    def capture(self) -> None:
        assert self._base.scene.updated_sensors
        self.captures += 1
        self._seen = self._base.pixels()

    def get_obs(self, **textures: bool) -> dict[str, torch.Tensor | None]:
        assert textures == {"rgb": True, "depth": False, "position": False, "segmentation": False}
        return {"rgb": self._seen}


class Marker:
    """Something that people see and sensors do not."""

    visible = True

    def hide_visual(self) -> None:
        self.visible = False


class StubScene:
    def __init__(self, base: StubBaseEnv, cameras: int, renders: bool) -> None:
        names = ["render_camera", "side_camera"][:cameras]
        self.human_render_cameras = dict.fromkeys(names)
        self.sensors = {"base_camera": StubSensor(base), "hand_camera": StubSensor(base)}
        self.updated_sensors = False
        self._renders = renders

    def can_render(self) -> bool:
        return self._renders

    def update_render(
        self, update_sensors: bool = True, update_human_render_cameras: bool = True
    ) -> None:
        self.updated_sensors = update_sensors


class StubBaseEnv(gym.Env):
    """N environments; one succeeds at the steps at which its action is positive.

    Its reward is always written into the same tensor.

    Attributes:
        rendered: the camera of every rendering.
        acted: how often it was stepped.
    """

    reconfiguration_freq = 0

    def __init__(self, num_envs: int, cameras: int = 1, renders: bool = True) -> None:
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.single_action_space = gym.spaces.Box(-1, 1, (1,))
        self.action_space = gym.spaces.Box(-1, 1, (num_envs, 1))
        pixels = gym.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.single_observation_space = gym.spaces.Dict(
            {"state": gym.spaces.Box(-1, 1, (1,)), "sensor_data": gym.spaces.Dict(eye=pixels)}
        )
        self.observation_space = self.single_observation_space
        self.elapsed_steps = torch.zeros(num_envs, dtype=torch.int32)
        self.episode = torch.full((num_envs,), -1)
        self.reward = torch.zeros(num_envs)
        self.scene = StubScene(self, cameras, renders)
        self._hidden_objects = [Marker()]
        self.rendered: list[str | None] = []
        self.acted = 0

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        which = (options or {}).get("env_idx", torch.arange(self.num_envs))
        self.elapsed_steps[which] = 0
        self.episode[which] += 1
        return self._observe(), {"elapsed_steps": self.elapsed_steps, "reconfigure": False}

    def step(self, action: Any) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor, Any]:
        self.acted += 1
        self.elapsed_steps += 1
        success = torch.as_tensor(action)[:, 0] > 0
        self.reward[:] = 100.0 * (torch.arange(self.num_envs) + 1) + self.elapsed_steps
        truncated = torch.zeros(self.num_envs, dtype=torch.bool)
        info = {"elapsed_steps": self.elapsed_steps, "success": success}
        return self._observe(), self.reward, success.clone(), truncated, info

    def render_rgb_array(self, camera_name: str | None = None) -> torch.Tensor:
        assert camera_name is None or camera_name in self.scene.human_render_cameras
        self.rendered.append(camera_name)
        self._hidden_objects[0].visible = True
        return self.pixels()

    def pixels(self) -> torch.Tensor:
        shown = [torch.arange(self.num_envs), self.episode, self.elapsed_steps]
        rgba = torch.stack([*shown, torch.full((self.num_envs,), 255)], -1).to(torch.uint8)
        texture = rgba[:, None, None].repeat(1, HEIGHT, WIDTH, 1)
        texture[:, 0, 1, 0] = int(self._hidden_objects[0].visible)
        return texture[..., :3]

    def _observe(self) -> dict[str, Any]:
        return {"state": torch.zeros(self.num_envs, 1), "sensor_data": {"eye": self.pixels()}}


class StubTimeLimit(gym.Wrapper):
    """As ManiSkill's TimeLimitWrapper."""

    def __init__(self, env: gym.Env, max_episode_steps: int | None) -> None:
        super().__init__(env)
        self._max_episode_steps = max_episode_steps

    def step(self, action: Any) -> tuple[Any, Any, Any, torch.Tensor, Any]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._max_episode_steps is not None:
            truncated = self.unwrapped.elapsed_steps >= self._max_episode_steps
        return observation, reward, terminated, truncated, info


class StubAutoreset(gym.vector.VectorEnv):
    """As ManiSkillVectorEnv with ``auto_reset``: resets, in the step, those that are done."""

    def __init__(self, env: gym.Env) -> None:
        self.env = env
        self.num_envs = env.unwrapped.num_envs

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(actions)
        done = terminated | truncated
        if done.any():
            last = cloned(info)
            observation, info = self.reset(options={"env_idx": torch.arange(self.num_envs)[done]})
            info |= {"final_info": last, "_final_info": done}
        return observation, reward, terminated, truncated, info


def cloned(part: Any) -> Any:
    """As ManiSkill's ``torch_clone_dict``, which passes on uncloned what is neither."""
    if isinstance(part, dict):
        return {name: cloned(value) for name, value in part.items()}
    assert isinstance(part, torch.Tensor), f"not a tensor: {part!r}"
    return part.clone()


def shown(frame: bytes) -> SimpleNamespace:
    """What a raw frame of the stub shows."""
    environment, episode, step = frame[:3]
    return SimpleNamespace(
        environment=environment, episode=episode, step=step, marker=bool(frame[3])
    )
