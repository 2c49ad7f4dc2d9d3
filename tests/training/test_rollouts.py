"""Disturbances, storage, and the simulator where there is one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from training.rollouts import store
from training.rollouts.disturbance import draw, kinds_of_failure
from training.rollouts.generate import jobs
from training.rollouts.store import HELD_OUT_FROM, Rollout, decode_jpeg, encode_jpeg
from training.tasks import KEPT_OUT, TASK_BY_ID, TASKS

from .states import pick_expert


def test_the_same_seed_gives_the_same_disturbance():
    for task in TASKS:
        assert draw(task, 7) == draw(task, 7)


@pytest.mark.parametrize("task", [*TASKS, *KEPT_OUT], ids=lambda task: task.env_id)
def test_about_half_of_the_attempts_are_undisturbed_and_all_kinds_of_failure_occur(task):
    kinds = [draw(task, seed).kind for seed in range(600)]
    experts = sum(kind in ("expert", "trembling") for kind in kinds)
    assert 0.4 < experts / len(kinds) < 0.56
    assert set(kinds_of_failure(task)) == set(kinds) - {"expert", "trembling"}


def test_episodes_are_interleaved_and_those_that_exist_are_skipped(tmp_path):
    count = len(TASKS)
    todo = list(jobs(TASKS, count + 2, 0, tmp_path, None))
    assert [job[0] for job in todo] == [*TASKS, *TASKS[:2]]
    assert [job[1] for job in todo] == [0] * count + [1] * 2
    done = store.path_of(tmp_path, TASKS[0].env_id, 0)
    done.parent.mkdir(parents=True)
    done.touch()
    assert len(list(jobs(TASKS, count + 2, 0, tmp_path, None))) == count + 1


def test_a_rollout_survives_the_disk(tmp_path):
    frame = np.zeros((32, 32, 3), dtype=np.uint8)
    frame[:16] = 200
    steps = np.array([0, 5], dtype=np.int32)
    jpegs = (encode_jpeg(frame), encode_jpeg(frame[::-1].copy()))
    made = Rollout("PickCube-v1", HELD_OUT_FROM, "missed", True, pick_expert(), steps, jpegs)
    store.save(made, tmp_path)
    read = store.load(store.paths(tmp_path)[0])
    assert read.held_out
    assert read.jpegs == made.jpegs
    assert np.array_equal(read.rows, made.rows)
    assert dataclasses.replace(read, rows=made.rows, steps=made.steps) == made
    assert np.abs(decode_jpeg(read.jpegs[0]).astype(int) - frame).max() < 20


def test_the_simulator_renders_an_attempt():
    pytest.importorskip("mani_skill", reason="needs ManiSkill (the extra `sim`)")
    from training.rollouts.simulate import Stage

    stage = Stage(TASK_BY_ID["PushCube-v1"])
    try:
        made = stage.rollout(0, stride=40)
    finally:
        stage.close()
    assert len(made.jpegs) == len(made.steps)
    assert made.steps[-1] == len(made.rows) - 1
    # A render without light would be one colour.
    assert decode_jpeg(made.jpegs[0]).std() > 10
