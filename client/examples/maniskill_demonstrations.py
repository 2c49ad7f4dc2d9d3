"""Motion-planned demonstrations for ppo_maniskill.py, in the control mode and horizon it learns in.

    python client/examples/maniskill_demonstrations.py --env-id PushCube-v1 --episodes 50

ManiSkill's planner moves the arm by absolute joint targets and takes the time it needs. A learner
acts by small joint displacements within a fixed horizon. So each plan is replayed: at every step
the action is the way from where the joints are to where the plan, slowed down or sped up to fit the
horizon, wants them. A replay that does not end in success is dropped. The same seed gives the same
demonstration.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import mani_skill.envs  # noqa: F401  (registers the environments)
import numpy as np
import tyro
from mani_skill.examples.motionplanning.panda.run import MP_SOLUTIONS
from numpy.typing import NDArray
from tqdm import tqdm

CONTROL_MODE: Final = "pd_joint_delta_pos"
ARM: Final = 7
# Radians that an action of 1 asks of a joint in this control mode.
LARGEST_STEP: Final = 0.1
# The share of the horizon in which the plan is to be done; the rest is for holding still.
BUSY_SHARE: Final = 0.8
# Noise on the replayed actions, so that the record shows the way back from small errors. It changes
# slowly: its correlation from one step to the next.
NOISE_MEMORY: Final = 0.9


@dataclass
class Args:
    """Where demonstrations come from and go to."""

    env_id: str = "PushCube-v1"
    episodes: int = 50
    horizon: int = 50
    """Steps of an episode, as the learner has it."""
    noise: float = 0.1
    """Standard deviation of the noise on the replayed actions, whose range is [-1, 1]."""
    first_seed: int = 30_000
    to: Path = Path("runs/demonstrations")


class PlanRecorder(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the joint targets and the gripper, (8,), that the planner asks for."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.targets: list[NDArray[np.float64]] = []

    def step(self, action: Any) -> Any:
        """Records the action and takes it."""
        self.targets.append(np.asarray(action, np.float64))
        return self.env.step(action)


def make(env_id: str, control_mode: str, horizon: int | None) -> gym.Env[Any, Any]:
    """A simulator of one environment on the CPU; nothing is rendered."""
    return gym.make(
        env_id,
        num_envs=1,
        obs_mode="state",
        control_mode=control_mode,
        sim_backend="cpu",
        render_backend="cpu",
        max_episode_steps=horizon,
    )


def plan(env: PlanRecorder, env_id: str, seed: int) -> NDArray[np.float64]:
    """The planner's joint targets and gripper, (T, 8), from the initial state of a seed."""
    env.targets = []
    # The planner reports its troubles on standard output; a plan in trouble is dropped later.
    with contextlib.redirect_stdout(io.StringIO()):
        MP_SOLUTIONS[env_id](env, seed=seed, debug=False, vis=False)
    return np.stack(env.targets)


def fit(targets: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """A plan (T, 8) in at most `steps` steps; one that is shorter stays as it is."""
    if len(targets) <= steps:
        return targets
    at = np.linspace(0, len(targets) - 1, steps)
    arm = [np.interp(at, np.arange(len(targets)), targets[:, joint]) for joint in range(ARM)]
    # The gripper is open or closed, nothing in between.
    gripper = targets[np.ceil(at).astype(int), ARM]
    return np.column_stack([*arm, gripper])


def replay(
    env: gym.Env[Any, Any], plan: NDArray[np.float64], seed: int, horizon: int, noise: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
    """Follows a plan in the learner's environment.

    Returns:
        Observations float32 (horizon, O), the actions that were right there, float32 (horizon, 8)
        within [-1, 1], and whether the end is a success.
    """
    observation, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    drift = np.zeros(ARM)
    seen, asked = [], []
    for step in range(horizon):
        target = plan[min(step, len(plan) - 1)]
        joints = env.unwrapped.agent.robot.get_qpos()[0, :ARM].cpu().numpy()
        arm = np.clip((target[:ARM] - joints) / LARGEST_STEP, -1, 1)
        seen.append(observation[0].cpu().numpy())
        asked.append(np.append(arm, target[ARM]))
        fresh = rng.standard_normal(ARM) * noise * np.sqrt(1 - NOISE_MEMORY**2)
        drift = NOISE_MEMORY * drift + fresh
        taken = np.clip(np.append(arm + drift, target[ARM]), -1, 1).astype(np.float32)
        observation, _, _, _, info = env.step(taken)
    return np.float32(seen), np.float32(asked), bool(info["success"][0])


def main(args: Args) -> None:
    """Writes observations (E, T, O) and actions (E, T, 8) of the episodes that end in success."""
    planned = PlanRecorder(make(args.env_id, "pd_joint_pos", None))
    learned = make(args.env_id, CONTROL_MODE, args.horizon)
    observations, actions, seeds = [], [], []
    for seed in tqdm(range(args.first_seed, args.first_seed + args.episodes), unit="plan"):
        targets = fit(plan(planned, args.env_id, seed), int(BUSY_SHARE * args.horizon))
        seen, asked, success = replay(learned, targets, seed, args.horizon, args.noise)
        if success:
            observations.append(seen)
            actions.append(asked)
            seeds.append(seed)
    if not seeds:
        raise SystemExit(f"no replay of {args.env_id} in {args.horizon} steps ends in success")
    args.to.mkdir(parents=True, exist_ok=True)
    file = args.to / f"{args.env_id}_{args.horizon}.npz"
    np.savez_compressed(file, observations=observations, actions=actions, seeds=seeds)
    print(f"{file}: {len(seeds)} of {args.episodes} replays end in success")


if __name__ == "__main__":
    main(tyro.cli(Args))
