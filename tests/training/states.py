"""Hand-made states: rows of training.rollouts.features.COLUMNS."""

from __future__ import annotations

import numpy as np

from training.rollouts.features import COLUMNS

FLAT = (1.0, 0.0, 0.0, 0.0)


def row(
    tcp, thing, goal, opening=0.08, grasped=False, success=False, quaternion=FLAT, other=(0, 0, 0)
):
    """One row from its parts."""
    parts = [*tcp, *thing, *quaternion, *goal, *other, opening, grasped, success]
    made = np.array(parts, dtype=np.float32)
    assert made.shape == (len(COLUMNS),)
    return made


def pick_expert(steps=20, goal=(0.1, 0.1, 0.2)):
    """A PickCube expert: down to the cube at the origin, grasp, straight to the goal."""
    cube, start = np.array([0.0, 0.0, 0.02]), np.array([0.1, -0.1, 0.2])
    target = np.array(goal)
    rows = [row(start + (cube - start) * share, cube, goal) for share in np.linspace(0, 1, steps)]
    rows += [row(cube, cube, goal, opening=o, grasped=o < 0.04) for o in (0.07, 0.05, 0.037, 0.037)]
    for share in np.linspace(0.05, 1, steps):
        at = cube + (target - cube) * share
        rows.append(row(at, at, goal, opening=0.037, grasped=True, success=share == 1))
    return np.stack(rows)
