"""One Gymnasium environment, whose reward comes from a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrm_client.envs.cameras import (
    RENDER,
    Camera,
    check_pixels,
    check_renders,
    observation_path,
    part_of,
)
from lrm_client.envs.gymnasium_bases import EnvWrapper, TimeLimit, Wrapper
from lrm_client.envs.learner_episodes import LearnerEpisodes, Terminations, scalars
from lrm_client.envs.learner_rewards import LearnerRewards
from lrm_client.flows import Sender
from lrm_client.vector_base import Frames, FramesSource, VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lrm_client.envs.gymnasium_bases import AnyEnv


class FixedHorizon(EnvWrapper):
    """Episodes of one length: truncated at their last step, never terminated.

    What the simulator makes of being stepped after it terminated is its own affair: most go
    on, with the state that the robot is in.

    Args:
        env: the environment.
        steps: length of an episode, at least 1.

    Raises:
        ImportError: Gymnasium is not installed.
        ValueError: the length is below 1, or the environment is known to truncate before.
    """

    def __init__(self, env: AnyEnv, steps: int) -> None:
        super().__init__(env)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        limit = _time_limit(env)
        if limit is not None and limit < steps:
            raise ValueError(_too_short(limit, steps))
        self._length = steps
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment."""
        self._step = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment.

        Raises:
            RuntimeError: the environment truncated the episode before its last step.
        """
        observation, reward, _, truncated, info = self.env.step(action)
        self._step += 1
        if truncated and self._step < self._length:
            raise RuntimeError(_too_short(self._step, self._length))
        return observation, reward, False, self._step >= self._length, info


class RewardEnv(EnvWrapper):
    """An environment whose reward is ``(1 - weight) its own + weight the model's``.

    Frames are taken at resets and at the steps that the episode clock wants, and no others.
    ``info["lrm"]`` holds every step's parts, see ``step_info``, as numbers and words. With
    the failure policy ``raise`` a step without a reward is an exception, after the
    environment was stepped; choose ``mask`` to go on, with NaN.

    Args:
        env: the environment, made with ``render_mode="rgb_array"`` for ``camera="render"``.
        client: a ``RewardClient``; it is not closed with the environment. An environment
            that runs in a process of its own makes its client there.
        task: the task in words; the attribute ``task`` changes it from the next reset on.
        heads: the heads that are asked; the first one pays, unless ``head`` says otherwise.
        camera: where frames come from; a function is given the index 0.
        weight: share of the model in the reward, within 0 and 1.
        terminations: ``ignore``: a termination by the simulator does not end the episode,
            which needs a fixed horizon; ``keep``: it does.
        horizon: with ``ignore``: the length of an episode, as ``FixedHorizon`` has it; None
            for an environment that has a ``FixedHorizon`` or a time limit.
        deferred: ``step`` does not wait: its reward is NaN, and ``gather`` returns it later.
        options: those of ``VectorEpisodes``.

    Raises:
        ImportError: Gymnasium is not installed.
        ValueError: an argument out of range, a camera that gives no frames, or no horizon.
    """

    def __init__(
        self,
        env: AnyEnv,
        client: Sender,
        task: str,
        heads: Sequence[str],
        *,
        camera: Camera = RENDER,
        weight: float = 1.0,
        terminations: Terminations = "ignore",
        horizon: int | None = None,
        deferred: bool = False,
        **options: Unpack[VectorOptions],
    ) -> None:
        super().__init__(env if horizon is None else FixedHorizon(env, horizon))
        self._keeps = terminations == "keep"
        if self._keeps and horizon is not None:
            raise ValueError(
                "horizon goes with terminations='ignore'; with 'keep', give the environment a "
                "gymnasium.wrappers.TimeLimit"
            )
        if not self._keeps and not _truncates(self.env):
            raise ValueError(
                "with terminations='ignore' an episode ends at a fixed horizon, and the "
                "environment has none: give horizon=, or choose terminations='keep'"
            )
        self._camera = camera
        self._path = None if callable(camera) else observation_path(camera)
        if self._path is not None:
            check_pixels(env.observation_space, self._path)
        elif not callable(camera):
            check_renders(env.render_mode)
        self._episodes = LearnerEpisodes(
            client,
            1,
            task,
            heads,
            weight=weight,
            terminations=terminations,
            deferred=deferred,
            **options,
        )

    @property
    def task(self) -> str:
        """The task in words; one that is set holds from the next reset on."""
        return str(self._episodes.task)

    @task.setter
    def task(self, task: str) -> None:
        self._episodes.task = task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and begins an episode.

        Raises:
            LrmError: the episode could not be opened.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        self._episodes.reset(self._frames(observation))
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps the environment and its episode.

        Raises:
            RewardsFailed: a head has no reward, and the policy is ``raise``.
            RuntimeError: the environment truncated the episode before ``horizon``.
            EpisodeEnded: the episode took its final step: reset the environment.
        """
        observation, own, terminated, truncated, info = self.env.step(action)
        terminated = bool(terminated) and self._keeps
        final = terminated or bool(truncated)
        paid, told = self._episodes.step(self._frames(observation), [float(own)], final=[final])
        info = {**info, "lrm": scalars(told)}
        return observation, float(paid[0]), terminated, bool(truncated), info

    def gather(self) -> LearnerRewards:
        """Waits for the rewards of the T steps since the last time: arrays (T, 1).

        Raises:
            RuntimeError: rewards are not deferred.
            RewardsFailed: some steps have no reward, and the policy is ``raise``.
        """
        return self._episodes.gather()

    def close(self) -> None:
        """Closes the episode and the environment."""
        self._episodes.close()
        self.env.close()

    def _frames(self, observation: Any) -> FramesSource:
        if callable(self._camera):
            return self._camera
        path = self._path

        def frame(indices: NDArray[np.intp]) -> Frames:
            pixels: Any = self.env.render() if path is None else part_of(observation, path)
            return [pixels]

        return frame


def _truncates(env: AnyEnv) -> bool:
    """Whether an environment is known to end its episodes by truncation."""
    if _time_limit(env) is not None:
        return True
    while isinstance(env, Wrapper):
        if isinstance(env, FixedHorizon | TimeLimit):
            return True
        env = env.env
    return False


def _time_limit(env: AnyEnv) -> int | None:
    """The limit that Gymnasium made the environment with; one that is not positive is none."""
    limit = None if env.spec is None else env.spec.max_episode_steps
    return limit if limit is not None and limit > 0 else None


def _too_short(limit: int, steps: int) -> str:
    return (
        f"steps: the environment truncates its episodes at step {limit}, before the horizon of "
        f"{steps}: choose a shorter one, or make the environment with max_episode_steps={steps}"
    )
