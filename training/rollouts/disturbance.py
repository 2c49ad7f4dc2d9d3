"""What goes wrong in an attempt: one frozen record per episode, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from training.tasks import Task

Vector = tuple[float, float, float]

# Segments are the planner's motions, counted from 0. The number of the motion that carries the
# object to its goal:
CARRY_SEGMENT: Final[dict[str, int]] = {
    "PickCube-v1": 2,
    "PushCube-v1": 1,
    "StackCube-v1": 3,
    "PullCube-v1": 1,
    "LiftPegUpright-v1": 3,
    "PegInsertionSide-v1": 2,
    "PlugCharger-v1": 2,
    "PullCubeTool-v1": 3,
    "PlaceSphere-v1": 3,
    "StackPyramid-v1": 6,
}
# Roughly how many steps the planner takes, to place a halt somewhere inside the attempt.
TYPICAL_STEPS: Final[dict[str, int]] = {
    "PickCube-v1": 75,
    "PushCube-v1": 60,
    "StackCube-v1": 95,
    "PullCube-v1": 60,
    "LiftPegUpright-v1": 160,
    "PegInsertionSide-v1": 160,
    "PlugCharger-v1": 170,
    "PullCubeTool-v1": 235,
    "PlaceSphere-v1": 120,
    "StackPyramid-v1": 175,
}
# Tasks that succeed within millimetres: the least tremble spoils them.
PRECISE: Final = ("PegInsertionSide-v1", "PlugCharger-v1")
# Share of undisturbed attempts; the kinds of failure divide the rest evenly.
EXPERT_SHARE: Final = 0.48


@dataclass(frozen=True)
class Disturbance:
    """How an attempt departs from the planner's plan; the default departs not at all.

    Attributes:
        kind: the name of what goes wrong.
        shift: metres added to the targets of the segments from `shift_from` on.
        shift_from: first shifted segment.
        release: (segment, fraction): the gripper opens there and stays open.
        closed: the gripper never opens.
        halt: step at which the planner stops.
        noise: standard deviation of the joint targets' slow noise, in radians.
        skip: segments that are left out.
        regrip: the gripper closes again after the plan's end.
        afterwards: motions after the plan's end, as displacements of the gripper in metres.
        pause: steps that the arm stands still at the end.
    """

    kind: str = "expert"
    shift: Vector = (0.0, 0.0, 0.0)
    shift_from: int = 0
    release: tuple[int, float] | None = None
    closed: bool = False
    halt: int | None = None
    noise: float = 0.0
    skip: tuple[int, ...] = ()
    regrip: bool = False
    afterwards: tuple[Vector, ...] = ()
    pause: int = 0


def kinds_of_failure(task: Task) -> tuple[str, ...]:
    """The kinds of failure that make sense for a task."""
    common = ("missed", "knocked", "misplaced", "halted", "noisy")
    grasped = ("dropped",) if task.grasps else ()
    # A hooked cube stays where it was pulled, and a ball slips back into its bin.
    lasting = task.with_tool or task.env_id == "PlaceSphere-v1"
    return (*common, *grasped) if lasting else (*common, *grasped, "undone")


def draw(task: Task, seed: int) -> Disturbance:
    """Draws the disturbance of an episode; the same task and seed give the same one."""
    rng = np.random.default_rng([seed, sum(task.env_id.encode())])
    pause = int(rng.integers(2, 12))
    if rng.random() < EXPERT_SHARE:
        # Half of the experts tremble a little, so that success does not look like one exact motion.
        if rng.random() < 0.5 or task.env_id in PRECISE:
            return Disturbance(pause=pause)
        return Disturbance("trembling", noise=float(rng.uniform(0.002, 0.012)), pause=pause)
    kind = str(rng.choice(kinds_of_failure(task)))
    return _DRAWERS[kind](task, rng, pause)


def _sideways(rng: np.random.Generator, low: float, high: float) -> Vector:
    """A horizontal vector of random direction, its length in metres between `low` and `high`."""
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(low, high)
    return (float(length * np.cos(angle)), float(length * np.sin(angle)), 0.0)


def _missed(task: Task, rng: np.random.Generator, pause: int) -> Disturbance:
    if task.grasps:
        return Disturbance("missed", shift=_sideways(rng, 0.045, 0.11), pause=pause)
    # A pushing gripper misses only sideways: in the direction of the push it would still hit.
    offset = float(rng.choice([-1, 1]) * rng.uniform(0.06, 0.11))
    return Disturbance("missed", shift=(0.0, offset, 0.0), pause=pause)


def _knocked(task: Task, rng: np.random.Generator, pause: int) -> Disturbance:
    if task.grasps:
        # A closed gripper comes down beside the object and sweeps through where it lies.
        shift = (
            float(rng.uniform(-0.02, 0.02)),
            float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.08)),
            0.0,
        )
        sweep = (float(rng.uniform(-0.06, 0.06)), -shift[1] * float(rng.uniform(2.0, 3.0)), 0.0)
        carry = CARRY_SEGMENT[task.env_id]
        return Disturbance(
            "knocked",
            shift=shift,
            closed=True,
            skip=tuple(range(2, carry + 2)),
            afterwards=(sweep,),
            pause=pause,
        )
    offset = float(rng.choice([-1, 1]) * rng.uniform(0.026, 0.045))
    return Disturbance("knocked", shift=(0.0, offset, 0.0), pause=pause)


def _misplaced(task: Task, rng: np.random.Generator, pause: int) -> Disturbance:
    carry = CARRY_SEGMENT[task.env_id]
    if task.env_id == "LiftPegUpright-v1":
        # Without the tilt, or lowered too far from it, the peg comes down lying or leaning.
        if rng.random() < 0.5:
            return Disturbance(
                "misplaced",
                skip=(carry,),
                shift=(0.0, 0.0, -0.08),
                shift_from=carry + 1,
                pause=pause,
            )
        return Disturbance(
            "misplaced",
            skip=(carry, carry + 1),
            release=(2, float(rng.uniform(0.9, 1.0))),
            pause=pause,
        )
    if task.grasps:
        x, y, _ = _sideways(rng, 0.06, 0.13)
        height = float(rng.uniform(-0.03, 0.08)) if task.env_id == "PickCube-v1" else 0.0
        return Disturbance("misplaced", shift=(x, y, height), shift_from=carry, pause=pause)
    # Pushed or pulled too short, or past the target at an angle.
    sign = 1.0 if task.env_id == "PullCube-v1" else -1.0
    short = (sign * float(rng.uniform(0.06, 0.13)), float(rng.uniform(-0.03, 0.03)), 0.0)
    askew = (0.0, float(rng.choice([-1, 1]) * rng.uniform(0.12, 0.22)), 0.0)
    return Disturbance(
        "misplaced", shift=short if rng.random() < 0.6 else askew, shift_from=carry, pause=pause
    )


def _halted(task: Task, rng: np.random.Generator, pause: int) -> Disturbance:
    return Disturbance(
        "halted", halt=int(TYPICAL_STEPS[task.env_id] * rng.uniform(0.15, 0.9)), pause=pause + 4
    )


def _noisy(task: Task, rng: np.random.Generator, pause: int) -> Disturbance:
    del task
    return Disturbance("noisy", noise=float(rng.uniform(0.03, 0.18)), pause=pause)


def _undone(task: Task, rng: np.random.Generator, pause: int) -> Disturbance:
    """The task succeeds, then the gripper ruins it."""
    match task.env_id:
        case "PickCube-v1":
            away: tuple[Vector, ...] = (
                (*_sideways(rng, 0.08, 0.16)[:2], float(rng.uniform(-0.05, 0.05))),
            )
        case "PushCube-v1" | "PullCube-v1":
            # Away from the cube, beside it, and then across: out of the circle at its side.
            # The hand ends before a cube that it pushed, and further off one that it pulled.
            back, forth = (-0.05, 0.1) if task.env_id == "PushCube-v1" else (0.05, -0.0725)
            side, sweep = float(rng.choice([-1, 1])), float(rng.uniform(0.24, 0.3))
            away = (
                (back, 0.0, 0.0),
                (0.0, 0.1 * side, 0.0),
                (forth, 0.0, 0.0),
                (0.0, -sweep * side, 0.0),
            )
        case "StackCube-v1" | "StackPyramid-v1":
            away = ((0.0, 0.0, float(rng.uniform(0.02, 0.08))), _sideways(rng, 0.06, 0.12))
        case "PegInsertionSide-v1" | "PlugCharger-v1":
            # The hand still holds what it inserted, and pulls it out: back and towards itself.
            back = -float(rng.uniform(0.06, 0.14))
            away = ((0.0, back, 0.0) if task.env_id.startswith("Peg") else (back, 0.0, 0.0),)
        case _:
            # Two ways at right angles: the open fingers hit the peg on at least one of them.
            along, across = rng.choice([-1, 1], 2) * rng.uniform(0.08, 0.16, 2)
            away = ((0.0, float(along), 0.0), (float(across), 0.0, 0.0))
    regrip = task.env_id in ("StackCube-v1", "StackPyramid-v1")
    return Disturbance("undone", regrip=regrip, afterwards=away, pause=pause)


def _dropped(task: Task, rng: np.random.Generator, pause: int) -> Disturbance:
    carry = CARRY_SEGMENT[task.env_id]
    segment = carry if carry == 2 else int(rng.choice([carry - 1, carry]))
    return Disturbance("dropped", release=(segment, float(rng.uniform(0.2, 0.8))), pause=pause)


_DRAWERS: Final = {
    "missed": _missed,
    "knocked": _knocked,
    "misplaced": _misplaced,
    "halted": _halted,
    "noisy": _noisy,
    "undone": _undone,
    "dropped": _dropped,
}
