"""An environment that counts its steps, and what a scripted server saw of it.

A frame's three channels are the environment's index, its episode and its step; the scripted
server's value of a frame reads like those digits: environment 1, episode 2, step 3 is 0.123.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from tests.client.direct import DirectClient
from tests.client.scripted import Asked, ScriptedCore, frames_of

TASK = "count"
PIXELS = gym.spaces.Box(0, 255, (4, 5, 3), np.uint8)


class Counting(gym.Env):
    """Ends its first episodes at the given steps, and later ones never.

    Args:
        index: of the environment.
        lengths: of its first episodes.
        terminates: whether they end by termination instead of truncation.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Dict(
        {
            "camera": PIXELS,
            "depth": gym.spaces.Box(0, 1, PIXELS.shape, np.float32),
            "step": gym.spaces.Discrete(1000),
        }
    )

    def __init__(
        self,
        index: int = 0,
        lengths: Sequence[int] = (),
        terminates: bool = False,
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.render_mode = render_mode
        self.rendered: list[tuple[int, int]] = []
        self._index, self._lengths, self._terminates = index, lengths, terminates
        self._episode, self._step = -1, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._episode, self._step = self._episode + 1, 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        self._step += 1
        ended = self._lengths[self._episode : self._episode + 1] == (self._step,)
        terminated = ended and self._terminates
        return self._observation(), 10.0 * self._step, terminated, ended and not terminated, {}

    def render(self) -> Any:
        self.rendered.append((self._episode, self._step))
        return self._frame()

    def _frame(self) -> np.ndarray:
        return np.full(PIXELS.shape, (self._index, self._episode, self._step), np.uint8)

    def _observation(self) -> dict[str, Any]:
        depth = np.zeros(PIXELS.shape, np.float32)
        return {"camera": self._frame(), "depth": depth, "step": self._step}


def digits(asked: Asked) -> float:
    index, episode, step = asked.frame[:3]
    return index / 10 + episode / 100 + step / 1000


def counting_core() -> ScriptedCore:
    core = ScriptedCore()
    core.answer = digits
    return core


def client_of(core: ScriptedCore) -> DirectClient:
    return DirectClient(core)


def sent(core: ScriptedCore, *, initial: bool) -> list[tuple[int, int, int]]:
    """The frames that the server got, as (environment, episode, step), in order."""
    return [
        tuple(frames_of(request.frames)[step.frame][:3])
        for method, request in core.requests
        if method == "StepEpisodes"
        for step in request.steps
        if (step.step == 0) == initial
    ]
