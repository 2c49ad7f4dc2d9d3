"""Every task's stages follow what an attempt does, and fall when it goes wrong."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from training.rollouts.features import Track
from training.rollouts.potential import KNOTS, Calibration, potential
from training.rollouts.stages import stages
from training.tasks import KEPT_OUT, TASKS

from .states import row

START = np.array([0.0, -0.3, 0.3])
OPEN, SHUT = 0.08, 0.037
LYING, UPRIGHT = (1.0, 0.0, 0.0, 0.0), (np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0)


def path(*points, steps=6):
    """Points from the first to the last in even steps, (K, 3)."""
    parts = [np.linspace(a, b, steps, endpoint=False) for a, b in pairwise(points)]
    return np.concatenate([*parts, [points[-1]]])


def off(point, x, y, z):
    """A point, so many metres further."""
    return np.asarray(point) + np.array([x, y, z])


def approach(to, thing, goal, **fixed):
    return [row(at, thing, goal, opening=OPEN, **fixed) for at in path(START, np.array(to))]


def close(at, thing, goal, **fixed):
    return [
        row(at, thing, goal, opening=opening, grasped=opening < 0.04, **fixed)
        for opening in (0.06, SHUT)
    ]


def carry(points, goal, **fixed):
    return [
        row(at, at, goal, opening=SHUT, grasped=True, **fixed)
        for at in path(*map(np.array, points))
    ]


def release(at, goal, **fixed):
    return [
        row(at, at, goal, opening=opening, success=opening == OPEN, **fixed)
        for opening in (0.045, 0.06, OPEN)
    ]


def picked():
    thing, goal = (0.0, 0.0, 0.02), (0.1, 0.1, 0.2)
    return [*approach(thing, thing, goal), *close(thing, thing, goal), *carry([thing, goal], goal)]


def stacked(rise, other=(0, 0, 0)):
    thing, goal = (0.0, 0.0, 0.02), (0.1, 0.1, 0.02)
    top = ((goal[0] + (other[0] if any(other) else goal[0])) / 2,)
    top = (top[0], (goal[1] + (other[1] if any(other) else goal[1])) / 2, goal[2] + rise)
    ways = [thing, (0.0, 0.0, 0.12), (*top[:2], 0.14), top]
    return [
        *approach(thing, thing, goal, other=other),
        *close(thing, thing, goal, other=other),
        *carry(ways, goal, other=other),
        *release(top, goal, other=other),
    ]


def slid(direction):
    goal = (0.2 * direction, 0.0, 0.0)
    thing = np.array([0.0, 0.0, 0.02])
    behind = np.array([-0.05 * direction, 0.0, 0.02])
    rows = [row(START, thing, goal, opening=opening) for opening in (OPEN, 0.04, 0.0)]
    rows += [row(at, thing, goal, opening=0.0) for at in path(START, behind)]
    moved = path(np.zeros(3), np.array([0.12 * direction, 0.0, 0.0]))
    return [*rows, *(row(behind + way, thing + way, goal, opening=0.0) for way in moved)]


def stood_up():
    lying, end = np.array([0.0, 0.0, 0.02]), np.array([0.1, 0.0, 0.02])
    rows = approach(end, lying, (0, 0, 0)) + close(end, lying, (0, 0, 0))
    for share in np.linspace(0.0, 1.0, 8):
        hand = off(end, 0.0, 0.0, 0.29 * share)
        tilt = 0.58 * share
        turned = (np.cos(tilt / 2), 0.0, -np.sin(tilt / 2), 0.0)
        middle = off(lying, 0.0, 0.0, 0.2 * share)
        rows.append(row(hand, middle, (0, 0, 0), opening=SHUT, grasped=True, quaternion=turned))
    for share in np.linspace(0.2, 1.0, 5):
        tilt = 0.58 + (1.5 - 0.58) * share
        turned = (np.cos(tilt / 2), 0.0, -np.sin(tilt / 2), 0.0)
        hand, middle = np.array([0.1, 0.0, 0.32]), np.array([0.1, 0.0, 0.22])
        rows.append(row(hand, middle, (0, 0, 0), opening=SHUT, grasped=True, quaternion=turned))
    for height in (0.2, 0.17, 0.14, 0.12):
        at = np.array([0.1, 0.0, height])
        rows.append(row(off(at, 0, 0, 0.1), at, (0, 0, 0), SHUT, True, quaternion=UPRIGHT))
    return rows


def inserted(ready, done, grip):
    thing, goal = np.array([-0.2, 0.0, 0.02]), np.array([0.1, 0.0, 0.1])
    held = off(thing, grip, 0, 0)
    rows = approach(held, thing, goal) + close(held, thing, goal)
    before, inside = off(goal, -0.99 * ready, 0, 0), off(goal, -done, 0, 0)
    for at in path(thing, off(goal, -2 * ready, 0, 0.05), before, inside):
        rows.append(row(off(at, grip, 0, 0), at, goal, opening=SHUT, grasped=True))
    return rows


def pulled_with_tool():
    tool, cube = np.array([-0.2, -0.2, 0.025]), np.array([0.15, 0.0, 0.02])
    rows = approach(tool, cube, (0, 0, 0), other=tool) + close(tool, cube, (0, 0, 0), other=tool)
    over, behind = off(cube, -0.15, 0.0, 0.30), off(cube, -0.07, -0.067, 0.0)
    for at in path(tool, off(tool, 0, 0, 0.33), over, behind):
        rows.append(row(at, cube, (0, 0, 0), opening=SHUT, grasped=True, other=at))
    for way in path(np.zeros(3), np.array([-0.17, 0.0, 0.0])):
        hand = behind + way
        rows.append(row(hand, cube + way, (0, 0, 0), opening=SHUT, grasped=True, other=hand))
    return rows


def pyramid():
    red, green, blue = np.array([-0.1, 0.1, 0.02]), np.array([0.1, 0.1, 0.02]), (0.0, -0.1, 0.02)
    rows = [row(at, blue, green, opening=0.0, other=red) for at in path(START, red)]
    beside = off(green, -0.06, 0.0, 0.0)
    rows += [row(at, blue, green, opening=0.0, other=at) for at in path(red, beside)]
    top = off((green + beside) / 2, 0, 0, 0.04)
    fixed = {"other": beside}
    hand = path(beside, np.array(blue))
    rows += [row(at, blue, green, opening=OPEN, **fixed) for at in hand]
    rows += close(blue, blue, green, **fixed)
    rows += carry([blue, (*blue[:2], 0.12), (*top[:2], 0.14), top], green, **fixed)
    return rows + release(top, green, **fixed)


EXPERTS = {
    "PickCube-v1": picked,
    "PushCube-v1": lambda: slid(1.0),
    "PullCube-v1": lambda: slid(-1.0),
    "StackCube-v1": lambda: stacked(0.04),
    "PlaceSphere-v1": lambda: stacked(0.0225),
    "LiftPegUpright-v1": stood_up,
    "PegInsertionSide-v1": lambda: inserted(0.12, 0.015, 0.06),
    "PlugCharger-v1": lambda: inserted(0.05, 0.005, 0.0),
    "PullCubeTool-v1": pulled_with_tool,
    "StackPyramid-v1": pyramid,
}
NAMES = [task.env_id for task in (*TASKS, *KEPT_OUT)]


def even(count):
    """A calibration in which every stage takes as long."""
    return Calibration(np.full(count, 10.0), np.zeros(count), np.tile(KNOTS, (count, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_an_expert_passes_every_stage_in_order(name):
    marks = stages(name, Track.from_rows(np.stack(EXPERTS[name]())))
    assert np.all(np.diff(marks.stage) >= 0)
    assert set(marks.stage) == set(range(len(marks.spans)))


@pytest.mark.parametrize("name", NAMES)
def test_an_experts_potential_rises_from_nothing_to_nearly_all(name):
    track = Track.from_rows(np.stack(EXPERTS[name]()))
    progress = potential(name, track, even(len(stages(name, track).spans)))
    assert np.diff(progress).min() > -0.03
    assert progress[0] == 0.0
    assert progress[-1] > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_an_attempt_run_backwards_loses_what_it_had(name):
    rows = np.stack(EXPERTS[name]())
    there_and_back = Track.from_rows(np.concatenate([rows, rows[::-1]]))
    progress = potential(name, there_and_back, even(len(stages(name, there_and_back).spans)))
    assert progress[-1] < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_a_hand_that_stands_still_makes_no_progress(name):
    first = np.stack(EXPERTS[name]())[:1]
    idle = Track.from_rows(np.repeat(first, 10, axis=0))
    assert potential(name, idle, even(len(stages(name, idle).spans))).max() == 0.0
