"""One simulated attempt: run without rendering, then rendered at its key frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import gymnasium as gym
import mani_skill.envs  # noqa: F401 (registers the tasks)
import numpy as np

from training.rollouts.disturbance import draw
from training.rollouts.features import measure
from training.rollouts.filming import filmed
from training.rollouts.keyframes import every, key_steps
from training.rollouts.look import Look, draw_look
from training.rollouts.solver import attempt
from training.rollouts.store import Rollout, encode_jpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.tasks import Task

# Frames are square, this many pixels wide.
FRAME_SIZE: Final = 128
# What acts in the environment until the episode is over; resets it with the seed first.
Act = Callable[[Any, int], None]


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps every step's state and features since the last reset."""

    def __init__(self, env: gym.Env[Any, Any], task: Task) -> None:
        super().__init__(env)
        self.task = task
        self.states: list[dict[str, Any]] = []
        self.rows: list[NDArray[np.float32]] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Resets and starts a new record with the first state."""
        result = self.env.reset(**kwargs)
        self.states, self.rows = [], []
        self._keep()
        return result

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps and records."""
        result = self.env.step(action)
        self._keep()
        return result

    def _keep(self) -> None:
        env: Any = self.env.unwrapped
        state = env.get_state_dict()
        # The simulator hands out views of its buffers: without a copy every recorded state would be
        # the last one.
        self.states.append(
            {group: {k: v.clone() for k, v in parts.items()} for group, parts in state.items()}
        )
        self.rows.append(measure(env, self.task))


class Stage:
    """One task's simulator with its camera; reused for all of its episodes.

    Args:
        task: what is attempted.
        control_mode: how actions are meant; the planner's joint targets if not said.
        obs_mode: what who acts is shown.
    """

    def __init__(
        self, task: Task, *, control_mode: str = "pd_joint_pos", obs_mode: str = "none"
    ) -> None:
        self.task = task
        env = gym.make(
            task.env_id,
            obs_mode=obs_mode,
            reward_mode="none",
            control_mode=control_mode,
            render_mode="rgb_array",
            sim_backend="cpu",
            render_backend="cpu",
            human_render_camera_configs={"width": FRAME_SIZE, "height": FRAME_SIZE},
        )
        self.recorder = Recorder(env, task)

    def rollout(self, seed: int, stride: int | None = None) -> Rollout:
        """The planner's attempt of a seed, disturbed as the seed says; see `record`."""
        disturbance = draw(self.task, seed)

        def act(env: Any, seed: int) -> None:
            attempt(env, self.task.env_id, seed, disturbance)

        return self.record(seed, act, disturbance.kind, stride)

    def record(self, seed: int, act: Act, kind: str, stride: int | None = None) -> Rollout:
        """Lets somebody act, then renders the episode in the look of its seed.

        Its key frames, or every `stride`-th step, which is filmed as usual.
        """
        act(self.recorder, seed)
        rows = np.stack(self.recorder.rows)
        rng = np.random.default_rng([seed, 3])
        look = draw_look(seed) if stride is None else Look()
        steps = key_steps(rows[:, -1] > 0.5, rng) if stride is None else every(stride, len(rows))
        jpegs = tuple(encode_jpeg(frame) for frame in self._render(steps, look))
        return Rollout(
            self.task.env_id,
            seed,
            kind,
            look.camera is not None,
            rows,
            np.array(steps, dtype=np.int32),
            jpegs,
        )

    def close(self) -> None:
        """Releases the simulator."""
        self.recorder.close()

    def _render(self, steps: list[int], look: Look) -> list[NDArray[np.uint8]]:
        env: Any = self.recorder.unwrapped
        frames = []
        with filmed(env, look):
            for step in steps:
                env.set_state_dict(self.recorder.states[step])
                frames.append(self.recorder.render()[0].cpu().numpy())
        return frames
