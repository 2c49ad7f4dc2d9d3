"""One simulated attempt: run without rendering, then rendered at its key frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gymnasium as gym
import mani_skill.envs  # noqa: F401 (registers the tasks)
import numpy as np
import sapien
from mani_skill.utils import sapien_utils

from training.rollouts.disturbance import draw
from training.rollouts.features import measure
from training.rollouts.keyframes import every, key_steps
from training.rollouts.solver import attempt
from training.rollouts.store import Rollout, encode_jpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.tasks import Task

# Frames are square, this many pixels wide.
FRAME_SIZE: Final = 128
# Share of the episodes whose camera stands off its place, and how far (metres, for the eye and for
# what it looks at).
MOVED_CAMERA_SHARE: Final = 0.25
EYE_SPREAD: Final = 0.05
TARGET_SPREAD: Final = 0.03


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
    """One task's simulator with its camera; reused for all of its episodes."""

    def __init__(self, task: Task) -> None:
        self.task = task
        env = gym.make(
            task.env_id,
            obs_mode="none",
            reward_mode="none",
            control_mode="pd_joint_pos",
            render_mode="rgb_array",
            sim_backend="cpu",
            render_backend="cpu",
            human_render_camera_configs={"width": FRAME_SIZE, "height": FRAME_SIZE},
        )
        self.recorder = Recorder(env, task)

    def rollout(self, seed: int, stride: int | None = None) -> Rollout:
        """Simulates and renders the episode of a seed.

        Its key frames, or every `stride`-th step.
        """
        disturbance = draw(self.task, seed)
        attempt(self.recorder, self.task.env_id, seed, disturbance)
        rows = np.stack(self.recorder.rows)
        rng = np.random.default_rng([seed, 2])
        moved = bool(stride is None and rng.random() < MOVED_CAMERA_SHARE)
        steps = key_steps(rows[:, -1] > 0.5, rng) if stride is None else every(stride, len(rows))
        frames = self._render(steps, self._camera_pose(rng) if moved else None)
        jpegs = tuple(encode_jpeg(frame) for frame in frames)
        return Rollout(
            self.task.env_id,
            seed,
            disturbance.kind,
            moved,
            rows,
            np.array(steps, dtype=np.int32),
            jpegs,
        )

    def close(self) -> None:
        """Releases the simulator."""
        self.recorder.close()

    def _camera_pose(self, rng: np.random.Generator) -> sapien.Pose:
        """The task's camera pose, its eye and its aim moved a little."""
        pose = self._camera().get_local_pose().sp
        forward = pose.to_transformation_matrix()[:3, 0]
        eye = pose.p + rng.uniform(-EYE_SPREAD, EYE_SPREAD, 3)
        target = pose.p + forward + rng.uniform(-TARGET_SPREAD, TARGET_SPREAD, 3)
        return sapien_utils.look_at(eye, target).sp

    def _camera(self) -> Any:
        env: Any = self.recorder.unwrapped
        return env.scene.human_render_cameras["render_camera"].camera

    def _render(self, steps: list[int], camera_pose: sapien.Pose | None) -> list[NDArray[np.uint8]]:
        env: Any = self.recorder.unwrapped
        usual = self._camera().get_local_pose().sp
        if camera_pose is not None:
            self._camera().set_local_pose(camera_pose)
        try:
            frames = []
            for step in steps:
                env.set_state_dict(self.recorder.states[step])
                frames.append(self.recorder.render()[0].cpu().numpy())
            return frames
        finally:
            self._camera().set_local_pose(usual)
