"""Motion-planned demonstrations for ppo_maniskill.py, in the control mode and horizon it learns in.

    python client/examples/maniskill_demonstrations.py --env-id PushCube-v1 --episodes 50

ManiSkill's planner moves the arm by absolute joint targets and takes the time it needs. A learner
acts by small displacements of the gripper within a fixed horizon. So each plan is replayed: at
every step the action is the way from where the gripper is to where it was in the plan, sped up to
fit the horizon. A replay that does not end in success is dropped. The same seed gives the same
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

CONTROL_MODE: Final = "pd_ee_delta_pos"
# Metres along each axis that an action of 1 asks of the gripper in this control mode.
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
    """Keeps where the gripper is after each step, in metres, and how it is asked to be, (4,)."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.way: list[NDArray[np.float64]] = []

    def step(self, action: Any) -> Any:
        """Takes a step and records where it led."""
        outcome = self.env.step(action)
        self.way.append(np.append(place_of(self), np.asarray(action)[-1]))
        return outcome


def place_of(env: gym.Env[Any, Any]) -> NDArray[np.float64]:
    """Where the gripper's fingertips meet, in metres, (3,)."""
    place: NDArray[np.float64] = env.unwrapped.agent.tcp.pose.p[0].cpu().numpy()
    return place


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
    """Where the planner leads the gripper, (T, 4), from the initial state of a seed."""
    env.way = []
    # The planner reports its troubles on standard output; a plan in trouble is dropped later.
    with contextlib.redirect_stdout(io.StringIO()):
        MP_SOLUTIONS[env_id](env, seed=seed, debug=False, vis=False)
    return np.stack(env.way)


def fit(way: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """A way (T, 4) in at most `steps` steps; one that is shorter stays as it is."""
    if len(way) <= steps:
        return way
    at = np.linspace(0, len(way) - 1, steps)
    places = [np.interp(at, np.arange(len(way)), way[:, axis]) for axis in range(3)]
    # The gripper is open or closed, nothing in between.
    return np.column_stack([*places, way[np.ceil(at).astype(int), 3]])


def replay(
    env: gym.Env[Any, Any], way: NDArray[np.float64], seed: int, horizon: int, noise: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
    """Follows a way in the learner's environment.

    Returns:
        Observations float32 (horizon, O), the actions that were right there, float32 (horizon, 4)
        within [-1, 1], and whether the end is a success.
    """
    observation, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    drift = np.zeros(3)
    seen, asked = [], []
    for step in range(horizon):
        target = way[min(step, len(way) - 1)]
        right = np.clip((target[:3] - place_of(env)) / LARGEST_STEP, -1, 1)
        seen.append(observation[0].cpu().numpy())
        asked.append(np.append(right, target[3]))
        fresh = rng.standard_normal(3) * noise * np.sqrt(1 - NOISE_MEMORY**2)
        drift = NOISE_MEMORY * drift + fresh
        taken = np.clip(np.append(right + drift, target[3]), -1, 1).astype(np.float32)
        observation, _, _, _, info = env.step(taken)
    return np.float32(seen), np.float32(asked), bool(info["success"][0])


def main(args: Args) -> None:
    """Writes observations (E, T, O) and actions (E, T, 4) of the episodes that end in success."""
    planned = PlanRecorder(make(args.env_id, "pd_joint_pos", None))
    learned = make(args.env_id, CONTROL_MODE, args.horizon)
    observations, actions, seeds = [], [], []
    for seed in tqdm(range(args.first_seed, args.first_seed + args.episodes), unit="plan"):
        way = fit(plan(planned, args.env_id, seed), int(BUSY_SHARE * args.horizon))
        seen, asked, success = replay(learned, way, seed, args.horizon, args.noise)
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
