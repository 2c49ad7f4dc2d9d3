"""ManiSkill's motion planner with a disturbance.

Its published solutions run unchanged and go wrong as told.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sapien
from mani_skill.examples.motionplanning.panda.motionplanner import PandaArmMotionPlanningSolver
from mani_skill.examples.motionplanning.panda.run import MP_SOLUTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.rollouts.disturbance import Disturbance

# How slowly the noise on the joint targets changes: its correlation from one step to the next.
NOISE_MEMORY: Final = 0.93
# Of a motion whose end cannot be reached, these shares are tried.
SHARES: Final = (1.0, 0.7, 0.4)
# A plan that a bent arm makes absurdly long is cut here.
LONGEST: Final = 320


class HaltError(Exception):
    """The planner was told to stop here."""


class DisturbedSolver(PandaArmMotionPlanningSolver):
    """The planner of one attempt, which departs from its plan as a Disturbance says."""

    def __init__(
        self, env: Any, *args: Any, disturbance: Disturbance, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(env, *args, **kwargs)
        self.disturbance = disturbance
        self.segment = -1
        self.rng = np.random.default_rng([seed, 1])
        self.drift: NDArray[np.float64] = np.zeros(7)
        self.released = False
        if disturbance.closed:
            self.gripper_state = self.CLOSED

    def move_to_pose_with_screw(
        self, pose: Any, dry_run: bool = False, refine_steps: int = 0
    ) -> Any:
        """Moves to `pose`, shifted where the disturbance says so.

        A skipped segment does nothing.
        """
        if dry_run:
            return super().move_to_pose_with_screw(pose, dry_run=True)
        self.segment += 1
        if self.segment in self.disturbance.skip:
            return self.stand(1)
        if self.segment >= self.disturbance.shift_from:
            # Some solutions plan with the simulator's batched poses, of one scene here.
            pose = sapien.Pose(self.disturbance.shift) * getattr(pose, "sp", pose)
        return super().move_to_pose_with_screw(pose, refine_steps=refine_steps)

    def follow_path(self, result: dict[str, NDArray[np.float64]], refine_steps: int = 0) -> Any:
        """Steps along a planned path with the noise and the release of the disturbance."""
        path = result["position"]
        release = self.disturbance.release
        outcome = None
        for index in range(len(path) + refine_steps):
            if (
                release is not None
                and self.segment == release[0]
                and index >= release[1] * (len(path) - 1)
            ):
                self.released, self.gripper_state = True, self.OPEN
            outcome = self.act(path[min(index, len(path) - 1)])
        return outcome

    def act(self, joints: NDArray[np.float64]) -> Any:
        """One step towards joint positions (7,), in radians."""
        if self.elapsed_steps >= (
            LONGEST if self.disturbance.halt is None else self.disturbance.halt
        ):
            raise HaltError
        scale = self.disturbance.noise * np.sqrt(1 - NOISE_MEMORY**2)
        self.drift = NOISE_MEMORY * self.drift + scale * self.rng.standard_normal(7)
        outcome = self.env.step(np.hstack([joints + self.drift, self.gripper_state]))
        self.elapsed_steps += 1
        return outcome

    def stand(self, steps: int) -> Any:
        """Holds the arm where it is."""
        joints = self.robot.get_qpos()[0, :7].cpu().numpy()
        outcome = None
        for _ in range(steps):
            outcome = self.env.step(np.hstack([joints, self.gripper_state]))
            self.elapsed_steps += 1
        return outcome

    def close_gripper(self, t: int = 6, gripper_state: float | None = None) -> Any:
        """Closes the fingers; a gripper that has let go does not close again."""
        if not self.released:
            self.gripper_state = self.CLOSED if gripper_state is None else gripper_state
        return self.grip(t)

    def open_gripper(self, t: int = 6, gripper_state: float | None = None) -> Any:
        """Opens the fingers, unless they are to stay closed."""
        if not self.disturbance.closed:
            self.gripper_state = self.OPEN if gripper_state is None else gripper_state
        return self.grip(t)

    def grip(self, steps: int) -> Any:
        """Keeps the arm where it is while the fingers move."""
        joints = self.robot.get_qpos()[0, :7].cpu().numpy()
        outcome = None
        for _ in range(steps):
            outcome = self.act(joints)
        return outcome

    def move_by(self, displacement: tuple[float, float, float]) -> None:
        """Moves the gripper by metres from where it is; less far where no plan is found."""
        tcp = self.base_env.agent.tcp.pose.sp
        for share in SHARES:
            away = sapien.Pose([share * metres for metres in displacement])
            if super().move_to_pose_with_screw(away * sapien.Pose(tcp.p, tcp.q)) != -1:
                return


@contextlib.contextmanager
def _solver_of(env_id: str, disturbance: Disturbance, seed: int) -> Iterator[list[DisturbedSolver]]:
    """Lets the published solution of a task build a DisturbedSolver.

    Yields the list it will stand in.
    """
    module = importlib.import_module(MP_SOLUTIONS[env_id].__module__)
    made: list[DisturbedSolver] = []

    def build(env: Any, *args: Any, **kwargs: Any) -> DisturbedSolver:
        made.append(DisturbedSolver(env, *args, disturbance=disturbance, seed=seed, **kwargs))
        return made[-1]

    original = module.PandaArmMotionPlanningSolver
    module.PandaArmMotionPlanningSolver = build
    try:
        yield made
    finally:
        module.PandaArmMotionPlanningSolver = original


def attempt(env: Any, env_id: str, seed: int, disturbance: Disturbance) -> None:
    """Runs one attempt in `env` (which records itself).

    A plan that cannot be found leaves a shorter attempt.
    """
    # The planner prints its troubles; an attempt in trouble is still an attempt.
    with _solver_of(env_id, disturbance, seed) as made, contextlib.redirect_stdout(io.StringIO()):
        with contextlib.suppress(HaltError):
            MP_SOLUTIONS[env_id](env, seed=seed, debug=False, vis=False)
            if disturbance.regrip:
                made[0].close_gripper()
            for displacement in disturbance.afterwards:
                made[0].move_by(displacement)
        made[0].stand(disturbance.pause)
