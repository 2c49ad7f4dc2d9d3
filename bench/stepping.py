"""Environments that a rollout steps: work of a set amount, or ManiSkill's."""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.scene import SIDE, Frames, frames

_BLOCK: Final = bytes(1 << 18)


class Environments(Protocol):
    """N environments that are stepped together."""

    def reset(self, seed: int) -> None:
        """Begins an episode of each."""
        ...

    def step(self) -> None:
        """Steps all of them once."""
        ...

    def render(self, indices: NDArray[np.intp]) -> Frames:
        """The frames of some of them."""
        ...


class SimulatedEnvironments:
    """Each step is a fixed amount of work on one core, with no lock of Python's held.

    The amount and not the time is fixed, so that whatever takes the core away makes the step
    longer, as it would a simulator's.

    Args:
        count: N.
        step_seconds: what a step of all N takes on an idle core.
    """

    def __init__(self, count: int, step_seconds: float) -> None:
        self._count = count
        self._blocks = round(step_seconds / _block_seconds())
        self._seed = self._at = 0

    def reset(self, seed: int) -> None:
        """Begins an episode of each."""
        self._seed, self._at = seed, 0

    def step(self) -> None:
        """Steps all of them once."""
        self._at += 1
        _work(self._blocks)

    def render(self, indices: NDArray[np.intp]) -> Frames:
        """The frames of some of them, new at every step."""
        return frames(self._count, self._seed + self._at)[indices]


class ManiSkillEnvironments:
    """ManiSkill's environments on the CPU with random actions, one after the other.

    Args:
        name: of the environment, such as PushCube-v1.
        count: N.
        steps: of an episode.
    """

    def __init__(self, name: str, count: int, steps: int) -> None:
        # Both are of the simulator's own environment.
        import gymnasium
        import mani_skill.envs  # noqa: F401

        self._all: list[Any] = [
            gymnasium.make(
                name,
                obs_mode="state",
                render_mode="rgb_array",
                sim_backend="cpu",
                render_backend="cpu",
                max_episode_steps=steps,
                human_render_camera_configs={"width": SIDE, "height": SIDE},
            )
            for _ in range(count)
        ]

    def reset(self, seed: int) -> None:
        """Begins an episode of each."""
        for at, environment in enumerate(self._all):
            environment.reset(seed=seed + at)
            environment.action_space.seed(seed + at)

    def step(self) -> None:
        """Steps all of them once."""
        for environment in self._all:
            environment.step(environment.action_space.sample())

    def render(self, indices: NDArray[np.intp]) -> Frames:
        """The frames of some of them."""
        shown = [self._all[at].render() for at in indices]
        return np.stack([_as_frame(picture) for picture in shown])


def _as_frame(picture: Any) -> Frames:
    array = np.asarray(picture.cpu() if hasattr(picture, "cpu") else picture)
    return array.reshape(SIDE, SIDE, 3).astype(np.uint8, copy=False)


def _work(blocks: int) -> None:
    for _ in range(blocks):
        hashlib.sha256(_BLOCK)


def _block_seconds() -> float:
    """What a block of work takes, by the quickest of some tries."""
    tries = []
    for _ in range(5):
        began = time.perf_counter()
        _work(20)
        tries.append((time.perf_counter() - began) / 20)
    return min(tries)
