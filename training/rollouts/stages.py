"""Where an attempt stands: which stage of its task a state is in, and how far through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.rollouts.features import Track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Metres from the object's centre at which the planner stops before it reaches in, with some
# tolerance.
REACHED: Final = 0.055
# The fingers' distance when open, and when closed on a cube (metres).
OPEN: Final = 0.08
CLOSED: Final = 0.037
# Where a pushing or pulling gripper belongs: this far behind the cube (metres).
BEHIND: Final = 0.05
# Radius of the target circle (metres).
TARGET_RADIUS: Final = 0.1
# A cube counts as pushed once it is this much nearer to the target (metres).
PUSHED: Final = 0.015
# PickCube counts as placed this near to the goal (metres).
PLACED: Final = 0.025
# The cubes' half edge and the height that the planner lifts the upper cube by (metres).
HALF_CUBE: Final = 0.02
STACK_LIFT: Final = 0.1
# The peg's half length, how high the planner lifts the gripper with it, and how far it lowers it
# (metres).
PEG_HALF_LENGTH: Final = 0.12
PEG_GRIP: Final = 0.1
PEG_LIFT: Final = 0.29
PEG_LOWER: Final = 0.1
# The peg's angle to the table (radians): hanging from the gripper after the lift, and as good as
# upright.
PEG_HANGING: Final = 0.58
PEG_UPRIGHT: Final = 1.43
# How far over the bin's middle a sphere lies in it, and over the two lower cubes the third one
# (metres).
IN_BIN: Final = 0.0225
ON_CUBES: Final = 2 * HALF_CUBE
# A peg is inserted from here on in, as far as here, measured between its centre and its place; a
# plug likewise (metres). An object further off its height than this is not in front of its hole.
PEG_READY: Final = (0.12, 0.015)
PLUG_READY: Final = (0.05, 0.005)
LEVEL: Final = 0.012
# The hand's place on the peg that is inserted, from its centre (metres).
INSERTED_GRIP: Final = 0.06
# Where the hand is before it lowers the tool behind the cube, and when it has, from the cube
# (metres); and how near to the robot's base, and to what distance of it, the cube is pulled.
OVER_CUBE: Final = (-0.15, 0.0, 0.30)
BEHIND_CUBE: Final = (-0.07, -0.067, 0.0)
TOOL_LIFT: Final = 0.35
ROBOT_BASE: Final = (-0.615, 0.0)
PULLED_TO: Final = 0.6
# Cubes whose centres are this near lie side by side (metres).
SIDE_BY_SIDE: Final = 0.0616


@dataclass(frozen=True)
class Stages:
    """Where each step of a rollout stands.

    Attributes:
        stage: int (T,), the stage of each step.
        fraction: float64 (T,), how much of the stage's way is done, in [0, 1].
        spans: float64 (S,), the way that each stage has in this episode (metres; 0 where it is
            always the same).
    """

    stage: NDArray[np.int64]
    fraction: Floats
    spans: Floats


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> Floats:
    return np.asarray(np.linalg.norm(np.asarray(a, np.float64) - b, axis=-1))


def _share(now: Floats, start: float, end: float) -> Floats:
    """How much of the way from `start` to `end` is done at `now`, in [0, 1]."""
    way = start - end
    return np.clip((start - now) / (way if abs(way) > 1e-6 else 1e-6), 0.0, 1.0)


def _assemble(parts: Sequence[tuple[NDArray[np.bool_], Floats]], spans: Sequence[float]) -> Stages:
    """Stages from (condition, fraction) pairs, the last that holds winning."""
    stage = np.zeros(len(parts[0][1]), dtype=np.int64)
    fraction = parts[0][1].copy()
    for index, (holds, share) in enumerate(parts):
        stage[holds] = index
        fraction[holds] = share[holds]
    return Stages(stage, fraction, np.array(spans, dtype=np.float64))


def _reach_and_grip(
    track: Track, grip: NDArray[np.float32]
) -> tuple[list[tuple[NDArray[np.bool_], Floats]], float]:
    """The two stages before a grasp.

    The hand comes near `grip` (T, 3), then reaches in and closes. And the way there.
    """
    far = _distance(track.tcp, grip)
    start = max(float(far[0]), REACHED + 0.01)
    closing = np.where(
        far < 0.6 * REACHED, np.clip((OPEN - track.opening) / (OPEN - CLOSED), 0.0, 1.0), 0.0
    )
    inside = 0.6 * _share(far, REACHED, 0.0) + 0.4 * closing
    return [
        (np.ones(len(far), dtype=bool), _share(far, start, REACHED)),
        (far < REACHED, inside),
    ], start


def _pick(track: Track) -> Stages:
    parts, way = _reach_and_grip(track, track.thing)
    left = _distance(track.thing, track.goal)
    parts.append((track.grasped, _share(left, float(left[0]), PLACED)))
    return _assemble(parts, [way, 0.0, float(left[0])])


def _stack(track: Track, rise: float) -> Stages:
    """Putting the object `rise` metres over the goal, and letting go."""
    top = track.goal + np.array([0.0, 0.0, rise], dtype=np.float32)
    parts, spans = _lift_and_place(track, top)
    return _assemble(parts, spans)


def _lift_and_place(
    track: Track, top: NDArray[np.float32]
) -> tuple[list[tuple[NDArray[np.bool_], Floats]], list[float]]:
    """The five stages of putting the object at `top` (T, 3), and their ways."""
    parts, way = _reach_and_grip(track, track.thing)
    lifted = track.thing[0] + np.array([0.0, 0.0, STACK_LIFT], dtype=np.float32)
    carry = float(np.linalg.norm(lifted - top[0]))
    beside = _distance(track.thing[:, :2], top[:, :2])
    nearer = _share(beside, float(beside[0]), 0.0)
    height = np.asarray(track.thing[:, 2], np.float64)
    parts.append((track.grasped, _share(-height, -HALF_CUBE, -(HALF_CUBE + STACK_LIFT))))
    # Let go over its place, it falls there.
    falling = (beside < HALF_CUBE) & (height > top[:, 2])
    carried = (track.grasped & (nearer > 0.05)) | falling
    parts.append((carried, _share(_distance(track.thing, top), carry, 0.0)))
    placed = (beside < HALF_CUBE) & (np.abs(height - top[:, 2]) < 0.006)
    parts.append(
        (placed, np.clip((track.opening - CLOSED) / (OPEN - CLOSED), 0.0, 1.0).astype(np.float64))
    )
    return parts, [way, 0.0, 0.0, carry, 0.0]


def _pyramid(track: Track) -> Stages:
    """The first cube is pushed beside the second, then the third is put on both."""
    gap = _distance(track.other[:, :2], track.goal[:, :2])
    apart = float(gap[0]) > SIDE_BY_SIDE + 0.01
    hand = _distance(track.tcp, track.other)
    pushes = [
        (np.ones(len(gap), dtype=bool), _share(hand, max(float(hand[0]), REACHED + 0.01), REACHED)),
        (gap[0] - gap > PUSHED, _share(gap, float(gap[0]), SIDE_BY_SIDE)),
    ]
    top = (track.goal + track.other) / 2 + np.array([0.0, 0.0, ON_CUBES], dtype=np.float32)
    places, spans = _lift_and_place(track, top.astype(np.float32))
    beside = gap <= SIDE_BY_SIDE + 0.005
    parts = [*pushes, *((beside & holds, share) for holds, share in places)]
    ways = [float(hand[0]), float(gap[0]) - SIDE_BY_SIDE] if apart else [0.0, 0.0]
    return _assemble(parts, [*ways, *spans])


def _insert(track: Track, grip: NDArray[np.float32], ready: tuple[float, float]) -> Stages:
    """Grasping near `grip` (T, 3), carrying in front of the hole, and pushing in."""
    parts, way = _reach_and_grip(track, grip)
    left = _distance(track.thing, track.goal)
    off = np.abs(np.asarray(track.thing[:, 2] - track.goal[:, 2], np.float64))
    parts.append((track.grasped, _share(left, float(left[0]), ready[0])))
    parts.append(((left < ready[0]) & (off < LEVEL), _share(left, *ready)))
    return _assemble(parts, [way, 0.0, float(left[0]), 0.0])


def _long_axis(track: Track) -> Floats:
    """The object's local x axis in the world, float64 (T, 3)."""
    w, x, y, z = np.asarray(track.quaternion, np.float64).T
    return np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=-1)


def _nearer_end(track: Track, axis: Floats, reach: float) -> NDArray[np.float32]:
    """The place `reach` metres from the object's middle, on the side that the hand goes for."""
    ends = [track.thing + sign * reach * axis.astype(np.float32) for sign in (1, -1)]
    return min(ends, key=lambda end: float(_distance(track.tcp, end).min()))


def _pull_with_tool(track: Track) -> Stages:
    """Grasping the tool, lifting it over the cube, lowering it behind, and pulling."""
    parts, way = _reach_and_grip(track, track.other)
    over, behind = track.thing + np.array([OVER_CUBE, BEHIND_CUBE], dtype=np.float32)[:, None]
    height = np.asarray(track.tcp[:, 2], np.float64)
    aside = _distance(track.tcp[:, :2], over[:, :2])
    start = float(np.linalg.norm(track.other[0, :2] - over[0, :2]))
    near = _distance(track.tcp[:, :2], behind[:, :2]) < 0.1
    away = np.linalg.norm(np.asarray(track.thing[:, :2], np.float64) - ROBOT_BASE, axis=-1)
    parts.append((track.grasped, _share(-height, -0.03, -TOOL_LIFT)))
    parts.append((track.grasped & (height > 0.2), _share(aside, start, 0.0)))
    parts.append((track.grasped & near, _share(height, TOOL_LIFT, 0.03)))
    parts.append((away[0] - away > PUSHED, _share(away, float(away[0]), PULLED_TO)))
    return _assemble(parts, [way, 0.0, 0.0, start, 0.0, float(away[0]) - PULLED_TO])


def _slide(track: Track, direction: float) -> Stages:
    """Pushing (direction +1, away from the robot) and pulling (-1)."""
    behind = track.thing + np.array([-direction * BEHIND, 0.0, 0.0], dtype=np.float32)
    away = _distance(track.tcp, behind)
    left = _distance(track.thing[:, :2], track.goal[:, :2])
    closing = np.clip(1 - np.asarray(track.opening, np.float64) / OPEN, 0.0, 1.0)
    start = max(float(away[0]), 0.02)
    parts = [
        (np.ones(len(away), dtype=bool), closing),
        (closing > 0.98, _share(away, start, 0.0)),
        (left[0] - left > PUSHED, _share(left, float(left[0]), TARGET_RADIUS)),
    ]
    return _assemble(parts, [0.0, start, 0.0])


def _peg(track: Track) -> Stages:
    # The axis's height component is the sine of the peg's angle to the table.
    axis = _long_axis(track)
    parts, way = _reach_and_grip(track, _nearer_end(track, axis, PEG_GRIP))
    angle = np.arcsin(np.clip(np.abs(axis[:, 2]), 0.0, 1.0))
    hand, height = (
        np.asarray(track.tcp[:, 2], np.float64),
        np.asarray(track.thing[:, 2], np.float64),
    )
    parts.append((track.grasped, _share(-hand, -0.025, -PEG_LIFT)))
    parts.append((track.grasped & (hand > PEG_LIFT), _share(-angle, -PEG_HANGING, -PEG_UPRIGHT)))
    upright = angle > PEG_UPRIGHT
    parts.append((upright, _share(height, PEG_HALF_LENGTH + PEG_LOWER, PEG_HALF_LENGTH)))
    return _assemble(parts, [way, 0.0, 0.0, 0.0, 0.0])


def stages(env_id: str, track: Track) -> Stages:
    """The stage of every step of a rollout."""
    match env_id:
        case "PickCube-v1":
            return _pick(track)
        case "StackCube-v1":
            return _stack(track, ON_CUBES)
        case "PlaceSphere-v1":
            return _stack(track, IN_BIN)
        case "StackPyramid-v1":
            return _pyramid(track)
        case "PegInsertionSide-v1":
            grip = _nearer_end(track, _long_axis(track), INSERTED_GRIP)
            return _insert(track, grip, PEG_READY)
        case "PlugCharger-v1":
            return _insert(track, track.thing, PLUG_READY)
        case "PullCubeTool-v1":
            return _pull_with_tool(track)
        case "PushCube-v1":
            return _slide(track, 1.0)
        case "PullCube-v1":
            return _slide(track, -1.0)
        case "LiftPegUpright-v1":
            return _peg(track)
        case _:
            raise ValueError(f"no stages are known for {env_id}")
