"""The few numbers of the simulator's state that labels and reasoned answers are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.tasks import Task

# One row per simulator step. Positions in metres (world frame, z = 0 is the table), quaternions as
# w, x, y, z.
COLUMNS: Final[tuple[str, ...]] = (
    "tcp_x", "tcp_y", "tcp_z",
    "object_x", "object_y", "object_z",
    "object_qw", "object_qx", "object_qy", "object_qz",
    "goal_x", "goal_y", "goal_z",
    "other_x", "other_y", "other_z",
    "opening",
    "grasped",
    "success",
)  # fmt: skip
# Fingers further apart than this (metres) hold none of the tasks' objects.
WIDEST_GRASP: Final = 0.065


@dataclass(frozen=True)
class Track:
    """A rollout's state features by name.

    Attributes:
        tcp: float32 (T, 3), the point between the gripper's fingers, in metres.
        thing: float32 (T, 3), the object's centre, in metres.
        quaternion: float32 (T, 4), the object's orientation (w, x, y, z).
        goal: float32 (T, 3), the goal's centre, in metres; zeros where the task has none.
        other: float32 (T, 3), the centre of a tool or of a third object; zeros where there is none.
        opening: float32 (T,), the distance between the fingers, in metres.
        grasped: bool (T,), whether both fingers press on the object.
        success: bool (T,), the task's own success flag.
    """

    tcp: NDArray[np.float32]
    thing: NDArray[np.float32]
    quaternion: NDArray[np.float32]
    goal: NDArray[np.float32]
    other: NDArray[np.float32]
    opening: NDArray[np.float32]
    grasped: NDArray[np.bool_]
    success: NDArray[np.bool_]

    @classmethod
    def from_rows(cls, rows: NDArray[np.float32]) -> Track:
        """Splits rows of COLUMNS, float32 (T, len(COLUMNS)), into named parts."""
        return cls(
            tcp=rows[:, 0:3],
            thing=rows[:, 3:6],
            quaternion=rows[:, 6:10],
            goal=rows[:, 10:13],
            other=rows[:, 13:16],
            opening=rows[:, 16],
            # The simulator's contact forces outlive a reset: a hand wide open grasps nothing.
            grasped=(rows[:, 17] > 0.5) & (rows[:, 16] < WIDEST_GRASP),
            success=rows[:, 18] > 0.5,
        )


def measure(env: Any, task: Task) -> NDArray[np.float32]:
    """Reads one row of COLUMNS from an unwrapped ManiSkill environment, float32 (len(COLUMNS),)."""
    thing = getattr(env, task.object_actor)
    pose = thing.pose.raw_pose[0].cpu().numpy()
    goal, other = _place(env, task.goal_actor), _place(env, task.other_actor)
    held = getattr(env, task.other_actor) if task.with_tool and task.other_actor else thing
    opening = float(env.agent.robot.get_qpos()[0, -2:].sum())
    grasped = bool(env.agent.is_grasping(held)[0])
    success = bool(env.evaluate()["success"][0])
    tcp = env.agent.tcp.pose.p[0].cpu().numpy()
    return np.concatenate([tcp, pose[:7], goal, other, [opening, grasped, success]]).astype(
        np.float32
    )


def _place(env: Any, name: str | None) -> NDArray[np.float64]:
    """Where an actor, or a pose of the environment, is; zeros for None; float64 (3,)."""
    if name is None:
        return np.zeros(3)
    found = getattr(env, name)
    return np.asarray(getattr(found, "pose", found).p[0].cpu().numpy(), np.float64)
