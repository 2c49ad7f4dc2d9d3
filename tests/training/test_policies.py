"""Cloned policies: what they see, how they are trained, how they act."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from training.policies import clone as cloning
from training.policies import demonstrations as demos
from training.policies.acting import BURST_STEPS, OPENED_STEPS, Upset, actor, draw_upset
from training.policies.clone import CHUNK, DONE_AT_ONCE, Training, clone, pairs
from training.policies.demonstrations import Demonstration, Demonstrator, missing, successful
from training.policies.observation import ACTION, ARM, JOINTS, SIZE, displaced, observe
from training.policies.strength import (
    LEISURE,
    STRENGTHS,
    Strength,
    draw_strength,
    horizon_of,
    policy_of,
)
from training.rollouts.features import COLUMNS
from training.tasks import TASK_BY_ID

PICK, PUSH = TASK_BY_ID["PickCube-v1"], TASK_BY_ID["PushCube-v1"]


def toy(steps: int = 60, seed: int = 0, success: bool = True) -> Demonstration:
    """Joints that are pulled towards a place that the observation names."""
    rng = np.random.default_rng(seed)
    observations = rng.normal(size=(steps, SIZE)).astype(np.float32)
    targets = np.zeros((steps, ACTION), np.float32)
    targets[:, :ARM] = observations[:, :ARM] + 0.1 * observations[:, JOINTS : JOINTS + ARM]
    targets[:, ARM] = np.sign(observations[:, JOINTS])
    return Demonstration(observations, targets, success)


class Arm:
    """A stand-in for a recorded environment: joints that do as they are told at once."""

    def __init__(self) -> None:
        self.joints = torch.zeros(JOINTS)
        robot = SimpleNamespace(get_qpos=lambda: self.joints[None])
        self.unwrapped = SimpleNamespace(agent=SimpleNamespace(robot=robot))
        self.rows = [np.arange(len(COLUMNS), dtype=np.float32)]
        self.actions: list[np.ndarray[Any, Any]] = []
        self.seeds: list[int] = []

    def reset(self, seed: int) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        self.joints = torch.zeros(JOINTS)
        return None, {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.actions.append(np.asarray(action))
        self.joints[:ARM] = torch.from_numpy(np.asarray(action, np.float32)[:ARM])
        return None, 0.0, False, False, {}


class Still:
    """A policy that keeps the arm where it is and the gripper closed; remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray[Any, Any]] = []

    def plan(self, observation: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.seen.append(observation)
        chunk = np.zeros((CHUNK, ACTION), np.float32)
        chunk[:, :ARM], chunk[:, ARM] = observation[:ARM], -1.0
        return chunk


def acted(upset: Upset, horizon: int = 40, seed: int = 3) -> tuple[Arm, Still]:
    arm, policy = Arm(), Still()
    actor(policy, PICK, horizon, upset)(arm, seed)
    return arm, policy


def test_an_observation_holds_the_ways_but_not_the_success():
    row = np.arange(len(COLUMNS), dtype=np.float32)
    seen = observe(np.full(JOINTS, 0.5, np.float32), row)
    assert seen.shape == (SIZE,)
    at = {name: COLUMNS.index(f"{name}_x") for name in ("tcp", "object", "goal", "other")}
    assert seen[-9:].tolist() == [
        *[at["object"] - at["tcp"]] * 3,
        *[at["goal"] - at["object"]] * 3,
        *[at["other"] - at["tcp"]] * 3,
    ]
    won = row.copy()
    won[COLUMNS.index("success")] = -1.0
    assert np.array_equal(observe(np.full(JOINTS, 0.5, np.float32), won), seen)


def test_a_misled_policy_sees_object_and_goal_elsewhere_and_nothing_else():
    row = np.zeros(len(COLUMNS), np.float32)
    moved = displaced(row, np.array([0.1, 0.2, 0.0], np.float32))
    changed = {COLUMNS[index] for index in np.flatnonzero(moved)}
    assert changed == {"object_x", "object_y", "goal_x", "goal_y"}
    assert not row.any()


def test_chunks_are_ways_from_the_joints_and_go_on_as_the_demonstration_ended():
    one = toy(steps=3)
    seen, asked = pairs([one, toy(steps=5, seed=1)])
    assert seen.shape == (8, SIZE)
    chunks = asked.reshape(8, CHUNK, ACTION)
    assert np.allclose(chunks[1, 0, :ARM], one.targets[1, :ARM] - one.observations[1, :ARM])
    assert np.allclose(chunks[1, 1, :ARM], one.targets[2, :ARM] - one.observations[1, :ARM])
    assert np.allclose(chunks[1, 1:], chunks[1, 1])
    assert np.array_equal(chunks[2, :, ARM], np.full(CHUNK, one.targets[2, ARM]))


def test_a_clone_learns_the_demonstrated_action():
    shown = [toy(300, seed) for seed in range(2)]
    before, after = (clone(shown, Training(steps)) for steps in (0, 100))
    fresh = toy(100, seed=9)

    def error(policy: cloning.Clone) -> float:
        planned = np.stack([policy.plan(seen)[0] for seen in fresh.observations])
        return float(np.abs(planned[:, :ARM] - fresh.targets[:, :ARM]).mean())

    assert error(after) < 0.6 * error(before)


def test_the_same_seed_trains_the_same_policy_and_leaves_the_callers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (clone([toy()], Training(5, seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    weights = [policy.body[0].weight for policy in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_nothing_to_clone_is_refused():
    with pytest.raises(ValueError, match="no demonstrations"):
        clone([], Training(1))


def test_a_plan_far_from_all_demonstrations_stays_bounded():
    policy = clone([toy()], Training(50))
    edge = np.full(SIZE, 100.0, np.float32)
    further = np.full(SIZE, 1e6, np.float32)
    for seen in (edge, further):
        plan = policy.plan(seen)
        assert np.abs(plan[:, :ARM] - seen[:ARM]).max() < 2 * np.pi
        assert np.abs(plan[:, ARM]).max() <= 1.0


def test_a_policy_survives_the_disk(tmp_path):
    policy = clone([toy()], Training(5))
    cloning.save(policy, tmp_path / "a" / "b.pt")
    seen = toy().observations[0]
    assert np.array_equal(cloning.load(tmp_path / "a" / "b.pt").plan(seen), policy.plan(seen))


def test_demonstrations_that_exist_are_not_made_again(tmp_path):
    first = next(missing([PICK], 3, tmp_path))
    demos.save(toy(), demos.path_of(tmp_path, PICK.env_id, first[1]))
    left = list(missing([PICK, PUSH], 3, tmp_path))
    assert first not in left
    assert len(left) == 5


def test_only_successful_demonstrations_count(tmp_path):
    for seed, success in enumerate([True, False, True, True]):
        demos.save(toy(5, seed, success), demos.path_of(tmp_path, PICK.env_id, seed))
    found = successful(tmp_path, PICK.env_id, 2)
    assert [one.targets.tolist() for one in found] == [
        toy(5, seed).targets.tolist() for seed in (0, 2)
    ]
    assert len(successful(tmp_path, PICK.env_id, 9)) == 3


def test_a_shaken_demonstration_records_what_was_asked():
    arm = Arm()
    shaken = Demonstrator(arm)
    shaken.shake(seed=1, noise=0.05)
    shaken.reset(seed=7)
    asked = np.array([*np.linspace(0, 1, ARM), -1.0])
    for _ in range(20):
        shaken.step(asked)
    assert arm.seeds == [7]
    assert np.allclose(shaken.targets, asked)
    done = np.stack(arm.actions)
    assert np.all(done[:, ARM] == -1.0)
    assert 0.01 < np.abs(done[:, :ARM] - asked[:ARM]).mean() < 0.1
    assert np.allclose(shaken.observations[1][:ARM], done[0, :ARM], atol=1e-6)


def test_a_policy_looks_again_after_so_many_steps_and_acts_to_its_horizon():
    arm, policy = acted(Upset(), horizon=40)
    assert arm.seeds == [3]
    assert len(arm.actions) == 40
    assert len(policy.seen) == -(-40 // DONE_AT_ONCE)


def test_noise_is_on_the_arm_alone_and_the_same_for_a_seed():
    arm, _ = acted(Upset(noise=0.05))
    again, _ = acted(Upset(noise=0.05))
    other, _ = acted(Upset(noise=0.05), seed=4)
    assert np.array_equal(arm.actions, again.actions)
    assert not np.array_equal(arm.actions, other.actions)
    assert np.all(np.stack(arm.actions)[:, ARM] == -1.0)


def test_a_burst_is_noise_for_a_while():
    arm, _ = acted(Upset("burst", at=10, burst=0.1))
    moved = np.abs(np.diff(np.stack(arm.actions)[:, :ARM], axis=0)).max(axis=1) > 0
    assert not moved[:9].any()
    assert moved[10 : 9 + BURST_STEPS].all()


def test_an_opened_gripper_closes_again():
    arm, _ = acted(Upset("opened", at=10))
    gripper = np.stack(arm.actions)[:, ARM]
    assert np.all(gripper[10 : 10 + OPENED_STEPS] == 1.0)
    assert np.all(gripper[:10] == -1.0)
    assert np.all(gripper[10 + OPENED_STEPS :] == -1.0)


def test_a_misled_policy_is_misled():
    _, usual = acted(Upset())
    _, misled = acted(Upset("misled", by=(0.05, 0.0, 0.0)))
    difference = misled.seen[-1] - usual.seen[-1]
    assert difference[JOINTS + COLUMNS.index("object_x")] == pytest.approx(0.05)
    assert difference[-9] == pytest.approx(0.05)


def test_what_happens_is_drawn_from_the_seed():
    drawn = [draw_upset(PICK, seed, 0.0, 100, 0.4) for seed in range(500)]
    assert drawn == [draw_upset(PICK, seed, 0.0, 100, 0.4) for seed in range(500)]
    assert 0.3 < np.mean([bool(upset.kind) for upset in drawn]) < 0.5
    assert {upset.kind for upset in drawn} == {"", "misled", "burst", "shoved", "opened"}
    pushing = {draw_upset(PUSH, seed, 0.0, 100, 1.0).kind for seed in range(200)}
    assert pushing == {"misled", "burst", "shoved"}
    assert not any(draw_upset(PICK, seed, 0.0, 100, 0.0).kind for seed in range(50))


def test_strengths_take_turns_as_they_are_to():
    pick, push = (
        [draw_strength(task.env_id, seed).name for seed in range(1000)] for task in (PICK, PUSH)
    )
    for strength in STRENGTHS:
        assert pick.count(strength.name) / 1000 == pytest.approx(strength.share, abs=0.06)
    # A seed looks the same in all tasks: its look must not tell who acts.
    assert pick != push


def test_a_policy_is_trained_once(tmp_path):
    for seed in range(3):
        demos.save(toy(5, seed), demos.path_of(tmp_path / "demos", PICK.env_id, seed))
    tiny = Strength("tiny", 2, 3, 0.0, 1.0)
    trained = policy_of(tiny, PICK.env_id, tmp_path / "demos", tmp_path / "cache")
    # Without its demonstrations it can only come from the cache.
    found = policy_of(tiny, PICK.env_id, tmp_path / "none", tmp_path / "cache")
    assert torch.equal(found.body[0].weight, trained.body[0].weight)


def test_a_horizon_is_the_planners_time_and_some_more(tmp_path):
    for seed, steps in enumerate([40, 60, 80]):
        demos.save(toy(demos.PAUSE + steps, seed), demos.path_of(tmp_path, PICK.env_id, seed))
    assert horizon_of(PICK.env_id, tmp_path) == round(LEISURE * 60)
    with pytest.raises(ValueError, match=r"run training\.policies\.demonstrations"):
        horizon_of(PUSH.env_id, tmp_path)


def test_the_simulator_lets_a_clone_act(tmp_path):
    pytest.importorskip("mani_skill", reason="needs ManiSkill (the extra `sim`)")
    from training.policies.rollouts import Rolling
    from training.rollouts.simulate import Stage

    stage = Stage(PUSH)
    try:
        made = demos.demonstrate(stage, PUSH, demos.FIRST_SEED)
    finally:
        stage.close()
    assert made.success
    assert made.observations.shape == (len(made.targets), SIZE)
    demos.save(made, demos.path_of(tmp_path, PUSH.env_id, demos.FIRST_SEED))
    rolling = Rolling(PUSH, tmp_path, tmp_path / "policies")
    try:
        rollout = rolling.rollout(20_000)
    finally:
        rolling.close()
    assert rollout.kind.startswith("clone-")
    assert len(rollout.rows) == rolling.horizon + 1
