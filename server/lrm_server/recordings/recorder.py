"""Recording a Gymnasium environment, without Gymnasium: whatever has reset, step and render.

Tensors of one environment with a batch dimension, as ManiSkill gives them, are taken as they come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.simulated import as_flag, as_frame, as_number, as_row

RENDER: Final = "render"
OBSERVATION: Final = "observation"

SUCCESS_KEYS: Final = ("success", "is_success")

ACTION: Final = "action"


class Environment(Protocol):
    """What is used of ``gymnasium.Env``, made with ``render_mode="rgb_array"`` to be rendered."""

    def reset(self, *, seed: int | None = ..., options: Any = ...) -> tuple[Any, dict[str, Any]]:
        """The first observation, and an info."""

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Observation, reward, terminated, truncated, info."""

    def render(self) -> Any:
        """A picture of the state."""


Act = Callable[[Any], Any]
"""An action for an observation."""


class Recorder:
    """An environment that is recorded while it is used; all else of it is passed through.

    The environment must not reset itself: its last observation would be the next episode's first.

    An episode is recorded from ``reset`` to the step that terminates or truncates it, and is then
    given to ``taken``. What is left by another ``reset`` is not an episode; ``end`` makes it one.

    The frame of step 0 has the reward 0. ``done`` and ``success`` are read from the step's info,
    ``success`` or ``is_success``: ``done`` where each step had it, the reset's frame being False
    unless its own info says so; ``success`` where the last had it. Where every step is kept,
    numeric actions are the column ``action``: the one taken at the frame, and at the last frame,
    where none is, the one before.

    Args:
        env: with one environment.
        task: in words.
        taken: called with each episode.
        every: keep the frame of every Nth step, and of the last.
        camera: ``render``: what ``env.render()`` gives; ``observation``: the observation itself, or
            a part of it, as in ``observation/sensor_data/base_camera/rgb``.
        group: the environment's name.
        kind: who acts.
        fps: steps a second; None when it is not known.
        check: called with each frame that is kept; it raises for one that cannot be written.
    """

    def __init__(
        self,
        env: Environment,
        *,
        task: str,
        taken: Callable[[RecordedEpisode], None],
        every: int = 1,
        camera: str = RENDER,
        group: str = "",
        kind: str = "",
        fps: float | None = None,
        check: Callable[[NDArray[np.uint8]], None] = lambda frame: None,
    ) -> None:
        if every < 1:
            raise RecordingError(f"every must be at least 1, not {every}")
        source, *self._path = camera.split("/")
        if source not in (RENDER, OBSERVATION) or (source == RENDER and self._path):
            raise RecordingError(
                f"camera must be {RENDER} or {OBSERVATION}[/KEY...], not {camera!r}"
            )
        self._renders = source == RENDER
        self._env = env
        self._task = task
        self._taken = taken
        self._every = every
        self._group = group
        self._kind = kind
        self._fps = fps
        self._check = check
        self._count = 0
        self._attempt: _Attempt | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and begins an episode."""
        observation, info = self._env.reset(seed=seed, options=options)
        name = f"{self._group or 'episode'}_{self._count if seed is None else seed}"
        self._attempt = _Attempt(name, seed, _success(info))
        self._attempt.keep(0, self._frame(observation), 0.0, _success(info) or False)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps the environment and records what it shows."""
        attempt = self._attempt
        if attempt is None:
            raise RecordingError("no episode has begun: reset the environment first")
        observation, reward, terminated, truncated, info = self._env.step(action)
        over = as_flag(terminated) or as_flag(truncated)
        attempt.take(action, self._reward(reward, attempt), _success(info))
        attempt.latest = lambda: self._frame(observation)
        if over or attempt.length % self._every == 0:
            attempt.keep_latest()
        if over:
            self.end()
        return observation, reward, terminated, truncated, info

    def end(self) -> None:
        """Ends the episode here, if one has begun: gives it to ``taken``."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        attempt.keep_latest()
        self._count += 1
        self._taken(attempt.episode(self._task, self._group, self._kind, self._fps, self._every))

    def _reward(self, reward: Any, attempt: _Attempt) -> float:
        number = as_number(reward)
        if not math.isfinite(number):
            raise RecordingError(
                f"{self._group or 'the environment'} gave the reward {number} at step "
                f"{attempt.length + 1} of episode {attempt.name!r}: it must be finite"
            )
        return number

    def _frame(self, observation: Any) -> NDArray[np.uint8]:
        pixels = self._env.render() if self._renders else observation
        for depth, key in enumerate(self._path):
            if not isinstance(pixels, Mapping) or key not in pixels:
                place = "/".join([OBSERVATION, *self._path[:depth]])
                keys = ", ".join(map(str, pixels)) if isinstance(pixels, Mapping) else "no keys"
                raise RecordingError(f"camera: {place} has no {key!r}; it has {keys}")
            pixels = pixels[key]
        frame = as_frame(pixels, "env.render()" if self._renders else "the observation")
        self._check(frame)
        return frame


class _Attempt:
    """What is kept of the episode that runs."""

    def __init__(self, name: str, seed: int | None, success: bool | None) -> None:
        self.name = name
        self._seed = seed
        self._frames: list[NDArray[np.uint8]] = []
        self._steps: list[int] = []
        self._rewards: list[float] = []
        self._done: list[bool] = []
        self._actions: list[NDArray[Any] | None] = []
        self._all_told = True
        self._reward = 0.0
        self._success = success
        self.length = 0
        self.latest: Callable[[], NDArray[np.uint8]] | None = None

    def take(self, action: Any, reward: float, success: bool | None) -> None:
        self.length += 1
        self._actions.append(as_row(action))
        self._reward = reward
        self._success = success
        self._all_told &= success is not None

    def keep_latest(self) -> None:
        """Keeps the latest step's frame, unless it is kept already."""
        if self.latest is not None and self._steps[-1] != self.length:
            self.keep(self.length, self.latest(), self._reward, self._success or False)
        self.latest = None

    def keep(self, step: int, frame: NDArray[np.uint8], reward: float, done: bool) -> None:
        self._frames.append(frame)
        self._steps.append(step)
        self._rewards.append(reward)
        self._done.append(done)

    def episode(
        self, task: str, group: str, kind: str, fps: float | None, every: int
    ) -> RecordedEpisode:
        told = self._all_told and self._success is not None
        return RecordedEpisode(
            id=self.name,
            task=task,
            frames=self._frames,
            steps=np.asarray(self._steps, np.int64),
            length=self.length,
            success=self._success,
            done=np.asarray(self._done, np.bool_) if told else None,
            rewards=np.asarray(self._rewards, np.float64),
            fps=fps,
            group=group,
            kind=kind,
            seed=self._seed,
            columns=self._columns() if every == 1 else {},
        )

    def _columns(self) -> dict[str, NDArray[Any]]:
        actions = [action for action in self._actions if action is not None]
        if not actions or len(actions) < len(self._actions):
            return {}
        return {ACTION: np.stack([*actions, actions[-1]])}


def record_episodes(
    recorder: Recorder, act: Act, *, episodes: int, seed: int, longest: int
) -> Iterator[int]:
    """Plays and records episodes with the seeds ``seed``, ``seed`` + 1, ...

    Args:
        recorder: of the environment.
        act: the policy.
        episodes: how many.
        seed: of the first.
        longest: steps after which an episode is ended that the environment has not ended.

    Yields:
        The steps of each episode, when it has been taken.
    """
    for number in range(episodes):
        observation, _ = recorder.reset(seed=seed + number)
        steps = 0
        over = False
        while not over and steps < longest:
            observation, _, terminated, truncated, _ = recorder.step(act(observation))
            over = as_flag(terminated) or as_flag(truncated)
            steps += 1
        recorder.end()
        yield steps


def _success(info: Mapping[str, Any]) -> bool | None:
    for key in SUCCESS_KEYS:
        if info.get(key) is not None:
            return as_flag(info[key])
    return None
