"""How far an attempt has come, from the simulator's state.

Stages, and the share of an expert's time that each takes.

A state is in one stage of its task and some fraction through it. What a stage is worth is learnt
from the experts: the steps that a stage takes them, as a line in the distance that it covers, and
how their time runs within it. So a state of a failed attempt gets the progress that an expert has
on average in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.rollouts.features import Track
from training.rollouts.keyframes import first_success

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
# Knots of the curve of time within a stage.
KNOTS: Final = np.linspace(0.0, 1.0, 11)
# What is not finished has at most this progress, however near it is.
UNFINISHED: Final = 0.97


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


@dataclass(frozen=True)
class Calibration:
    """What the experts of a task taught.

    Attributes:
        base: float64 (S,), steps of a stage without its way.
        slope: float64 (S,), steps per metre of way.
        curves: float64 (S, len(KNOTS)), share of a stage's time passed, at fractions KNOTS.
    """

    base: Floats
    slope: Floats
    curves: Floats

    def to_json(self) -> dict[str, Any]:
        """Plain lists for a JSON file."""
        return {
            "base": self.base.tolist(),
            "slope": self.slope.tolist(),
            "curves": self.curves.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Calibration:
        """The inverse of to_json."""
        return cls(np.array(data["base"]), np.array(data["slope"]), np.array(data["curves"]))


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


def _stack(track: Track) -> Stages:
    parts, way = _reach_and_grip(track, track.thing)
    top = track.goal + np.array([0.0, 0.0, 2 * HALF_CUBE], dtype=np.float32)
    lifted = track.thing[0] + np.array([0.0, 0.0, STACK_LIFT], dtype=np.float32)
    carry = float(np.linalg.norm(lifted - top[0]))
    beside = _distance(track.thing[:, :2], top[:, :2])
    nearer = _share(beside, float(beside[0]), 0.0)
    height = np.asarray(track.thing[:, 2], np.float64)
    parts.append((track.grasped, _share(-height, -HALF_CUBE, -(HALF_CUBE + STACK_LIFT))))
    parts.append((track.grasped & (nearer > 0.05), _share(_distance(track.thing, top), carry, 0.0)))
    placed = (beside < HALF_CUBE) & (np.abs(height - top[:, 2]) < 0.006)
    parts.append(
        (placed, np.clip((track.opening - CLOSED) / (OPEN - CLOSED), 0.0, 1.0).astype(np.float64))
    )
    return _assemble(parts, [way, 0.0, 0.0, carry, 0.0])


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
    w, x, y, z = np.asarray(track.quaternion, np.float64).T
    # The peg's long axis is its local x axis; its height component is the sine of its angle to the
    # table.
    axis = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=-1)
    ends = [track.thing + sign * PEG_GRIP * axis.astype(np.float32) for sign in (1, -1)]
    # The planner grips one end; which one shows from where the hand goes.
    grip = min(ends, key=lambda end: float(_distance(track.tcp, end).min()))
    parts, way = _reach_and_grip(track, grip)
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
            return _stack(track)
        case "PushCube-v1":
            return _slide(track, 1.0)
        case "PullCube-v1":
            return _slide(track, -1.0)
        case "LiftPegUpright-v1":
            return _peg(track)
        case _:
            raise ValueError(f"no stages are known for {env_id}")


def calibrate(env_id: str, experts: Sequence[Track]) -> Calibration:
    """Learns the worth of a task's stages from experts that succeed."""
    durations, spans, times = [], [], []
    for track in experts:
        done = first_success(track.success)
        if done is None:
            continue
        marks = stages(env_id, track)
        count = len(marks.spans)
        # An expert passes through the stages in order; a flicker back is measurement, not regress.
        order = np.maximum.accumulate(marks.stage[: done + 1])
        length = np.bincount(order, minlength=count).astype(np.float64)
        begins = np.concatenate([[0.0], np.cumsum(length)[:-1]])
        durations.append(length)
        spans.append(marks.spans)
        share = (np.arange(done + 1) - begins[order]) / np.maximum(length[order], 1.0)
        times.append((order, marks.fraction[: done + 1], share))
    steps, ways = np.stack(durations), np.stack(spans)
    base, slope, curves = [], [], []
    for stage in range(steps.shape[1]):
        way = ways[:, stage]
        gradient = float(np.polyfit(way, steps[:, stage], 1)[0]) if way.std() > 1e-6 else 0.0
        gradient = max(gradient, 0.0)
        base.append(float(steps[:, stage].mean() - gradient * way.mean()))
        slope.append(gradient)
        fraction = np.concatenate([f[order == stage] for order, f, _ in times])
        share = np.concatenate([s[order == stage] for order, _, s in times])
        curves.append(_monotone(fraction, share))
    return Calibration(np.array(base), np.array(slope), np.array(curves))


def _monotone(fraction: Floats, share: Floats) -> Floats:
    """Mean share of time at the fractions KNOTS, never falling; float64 (len(KNOTS),)."""
    if not len(fraction):
        return KNOTS.copy()
    nearest = np.clip(np.rint(fraction * (len(KNOTS) - 1)).astype(int), 0, len(KNOTS) - 1)
    counts = np.bincount(nearest, minlength=len(KNOTS))
    means = np.bincount(nearest, weights=share, minlength=len(KNOTS)) / np.maximum(counts, 1)
    filled = np.interp(KNOTS, KNOTS[counts > 0], means[counts > 0])
    return np.maximum.accumulate(filled)


def potential(env_id: str, track: Track, calibration: Calibration) -> Floats:
    """Progress of every step, float64 (T,) in [0, 1]: 1 exactly where the task is done."""
    marks = stages(env_id, track)
    steps = np.maximum(calibration.base + calibration.slope * marks.spans, 1.0)
    begins = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    within = np.empty(len(marks.stage))
    for stage in range(len(steps)):
        here = marks.stage == stage
        within[here] = np.interp(marks.fraction[here], KNOTS, calibration.curves[stage])
    progress = np.minimum(
        (begins[marks.stage] + within * steps[marks.stage]) / steps.sum(), UNFINISHED
    )
    # A rollout starts at nothing, wherever its first state lies within the first stage.
    progress = np.clip((progress - progress[0]) / (1 - progress[0]), 0.0, UNFINISHED)
    return np.where(track.success, 1.0, progress)
