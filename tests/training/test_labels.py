"""Progress from hand-made states."""

from __future__ import annotations

import numpy as np
import pytest

from training.analysis import Fact
from training.rollouts.features import Track
from training.rollouts.keyframes import every, first_success, key_steps
from training.rollouts.labels import by_time, facts, progress
from training.rollouts.potential import Calibration, calibrate, potential
from training.rollouts.stages import stages
from training.rollouts.store import Rollout

from .states import pick_expert, row

GOALS = [(0.1, 0.1, 0.2), (0.05, -0.1, 0.1), (-0.1, 0.08, 0.25)]


@pytest.fixture(scope="module")
def calibration():
    return calibrate("PickCube-v1", [Track.from_rows(pick_expert(goal=goal)) for goal in GOALS])


def test_an_expert_passes_the_stages_in_order():
    marks = stages("PickCube-v1", Track.from_rows(pick_expert()))
    assert (np.diff(marks.stage) >= 0).all()
    assert set(marks.stage) == {0, 1, 2}
    assert ((marks.fraction >= 0) & (marks.fraction <= 1)).all()


def test_the_potential_rises_and_agrees_with_time_on_an_expert(calibration):
    track = Track.from_rows(pick_expert())
    values = potential("PickCube-v1", track, calibration)
    assert (np.diff(values) >= -1e-9).all()
    assert values[0] == 0.0
    assert values[-1] == 1.0
    timed = by_time(track)
    assert np.abs(values - timed).mean() < 0.06


def test_only_what_is_done_has_all_of_the_progress(calibration):
    rows = pick_expert()
    rows[-1, -1] = 0.0
    assert potential("PickCube-v1", Track.from_rows(rows), calibration).max() < 1.0


def test_a_dropped_cube_loses_progress(calibration):
    rows = pick_expert()[:-3]
    cube = rows[-1, 3:6].copy()
    cube[2] = 0.02
    dropped = row(rows[-1, :3], cube, GOALS[0], opening=0.08)
    values = potential("PickCube-v1", Track.from_rows(np.stack([*rows, dropped])), calibration)
    assert values[-1] < values[-2] - 0.2


def test_an_empty_hand_that_moves_to_the_goal_does_not_progress(calibration):
    rows = pick_expert()
    rows[:, 3:6] = rows[0, 3:6]
    rows[:, 14:] = 0.0
    values = potential("PickCube-v1", Track.from_rows(rows), calibration)
    assert values[-1] < values.max()
    assert values.max() < 0.65


def test_a_calibration_survives_json(calibration):
    again = Calibration.from_json(calibration.to_json())
    assert np.array_equal(again.curves, calibration.curves)


def rollout(rows, kind):
    steps = np.arange(len(rows), dtype=np.int32)
    return Rollout("PickCube-v1", 3, kind, False, rows, steps, ())


def test_experts_are_labelled_by_time_and_failures_by_their_state(calibration):
    rows = pick_expert()
    expert = progress(rollout(rows, "expert"), calibration)
    assert np.allclose(expert, np.linspace(0, 1, len(rows)))
    failed = progress(rollout(rows[:-5], "halted"), calibration)
    assert failed[-1] < 1.0
    assert np.abs(failed - expert[:-5]).mean() < 0.06


def test_a_success_that_does_not_last_is_not_labelled_by_time():
    rows = pick_expert()
    undone = np.concatenate([rows, rows[-6:-5]])
    assert by_time(Track.from_rows(undone)) is None


def test_facts_follow_the_stages():
    said = facts("PickCube-v1", Track.from_rows(pick_expert()))
    order = [Fact.AWAY, Fact.NEAR, Fact.GRASPED, Fact.UNDER_WAY, Fact.AT_GOAL, Fact.DONE]
    assert list(dict.fromkeys(said)) == order


def test_a_hand_wide_open_grasps_nothing():
    rows = np.stack([row((0, 0, 0), (0, 0, 0), (1, 0, 0), opening=0.08, grasped=True)])
    assert not Track.from_rows(rows).grasped[0]


def test_key_steps_hold_the_tenths_up_to_success_and_the_end():
    success = np.zeros(121, dtype=bool)
    success[100:] = True
    steps = key_steps(success, np.random.default_rng(0))
    assert {0, 10, 50, 85, 90, 95, 100, 120} <= set(steps)
    assert first_success(success) == 100


def test_key_steps_of_a_failure_reach_its_last_step():
    steps = key_steps(np.zeros(81, dtype=bool), np.random.default_rng(0))
    assert steps[0] == 0
    assert steps[-1] == 80
    assert len(steps) >= 11


def test_every_keeps_the_last_step():
    assert every(5, 13) == [0, 5, 10, 12]
