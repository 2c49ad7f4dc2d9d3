"""What a cloned policy sees: the joints, and where things are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.rollouts.features import COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The arm's joints in radians, the two fingers in metres.
JOINTS: Final = 9
ARM: Final = 7
# An arm's joint targets in radians, and the gripper from -1 (closed) to 1 (open).
ACTION: Final = ARM + 1
# The state features but the success flag, which would tell a policy what it is to bring about.
SEEN: Final = COLUMNS[: COLUMNS.index("success")]
SIZE: Final = JOINTS + len(SEEN) + 9

_TCP, _OBJECT, _GOAL, _OTHER = (
    slice(at := COLUMNS.index(f"{name}_x"), at + 3) for name in ("tcp", "object", "goal", "other")
)


def observe(joints: NDArray[np.float32], row: NDArray[np.float32]) -> NDArray[np.float32]:
    """One observation, float32 (SIZE,).

    The joints, the features, and the ways from the hand to the object, from the object to the goal
    and from the hand to the other object in metres.

    Args:
        joints: positions of the joints, float32 (JOINTS,).
        row: features of the state, float32 (len(COLUMNS),).
    """
    ways = (
        row[_OBJECT] - row[_TCP],
        row[_GOAL] - row[_OBJECT],
        row[_OTHER] - row[_TCP],
    )
    return np.concatenate([joints, row[: len(SEEN)], *ways]).astype(np.float32)


def joints_of(env: Any) -> NDArray[np.float32]:
    """The joints of a ManiSkill environment's robot, float32 (JOINTS,)."""
    found: NDArray[np.float32] = env.unwrapped.agent.robot.get_qpos()[0].cpu().numpy()
    return found


def displaced(row: NDArray[np.float32], by: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features with the object and the goal seen `by` metres (3,) from where they are."""
    seen = row.copy()
    seen[_OBJECT] += by
    seen[_GOAL] += by
    return seen
