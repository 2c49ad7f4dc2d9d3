"""Demonstrations of the planner, not rendered: `python -m training.policies.demonstrations`.

Stop it at any time; it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from training.policies.observation import ARM, joints_of, observe
from training.tasks import TASK_BY_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from training.tasks import Task

# The seeds of demonstrations: no rollout has them.
FIRST_SEED: Final = 30_000
# The arm stands still for so many steps at the end, so that a clone learns to stay.
PAUSE: Final = 12
# Most demonstrations are shaken: the targets that are executed depart from those that are recorded
# by noise of this standard deviation (radians), so that the record shows the way back.
SHAKEN_SHARE: Final = 0.75
SHAKE: Final = (0.003, 0.015)
# How slowly that noise changes: its correlation from one step to the next.
SHAKE_MEMORY: Final = 0.9
# The planner of these inserts within millimetres: shaken, it fails.
PRECISE_SHAKE: Final = 0.2
PRECISE: Final = ("PegInsertionSide-v1", "PlugCharger-v1")


@dataclass(frozen=True)
class Demonstration:
    """One attempt of the planner.

    Attributes:
        observations: float32 (T, SIZE), before each action.
        targets: float32 (T, ACTION), the joint targets in radians and the gripper.
        success: whether it ends in success.
    """

    observations: NDArray[np.float32]
    targets: NDArray[np.float32]
    success: bool


class Demonstrator:
    """Records what is asked of the arm, and shakes what it does; wraps a Recorder."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder
        self.unwrapped = recorder.unwrapped
        self._rng = np.random.default_rng(0)
        self._noise = 0.0
        self._drift: NDArray[np.float64] = np.zeros(ARM)
        self.observations: list[NDArray[np.float32]] = []
        self.targets: list[NDArray[np.float32]] = []

    @property
    def rows(self) -> list[NDArray[np.float32]]:
        """The features of all states since the reset."""
        rows: list[NDArray[np.float32]] = self._recorder.rows
        return rows

    def shake(self, seed: int, noise: float) -> None:
        """From here on, with noise of this standard deviation in radians."""
        self._rng, self._noise = np.random.default_rng([seed, 11]), noise

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Resets and starts a new record."""
        self.observations, self.targets, self._drift = [], [], np.zeros(ARM)
        result: tuple[Any, dict[str, Any]] = self._recorder.reset(**kwargs)
        return result

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Records the action as asked, and does it shaken."""
        asked = np.asarray(action, np.float64)
        self.observations.append(observe(joints_of(self._recorder), self.rows[-1]))
        self.targets.append(asked.astype(np.float32))
        fresh = self._rng.standard_normal(ARM) * self._noise * np.sqrt(1 - SHAKE_MEMORY**2)
        self._drift = SHAKE_MEMORY * self._drift + fresh
        done = np.concatenate([asked[:ARM] + self._drift, asked[ARM:]])
        result: tuple[Any, Any, Any, Any, dict[str, Any]] = self._recorder.step(done)
        return result


def path_of(root: Path, env_id: str, seed: int) -> Path:
    """Where a demonstration stands under `root`."""
    return root / env_id / f"{seed:06d}.npz"


def save(demonstration: Demonstration, path: Path) -> None:
    """Writes a demonstration; an interrupted write leaves no file under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            observations=demonstration.observations,
            targets=demonstration.targets,
            success=np.array(demonstration.success),
        )
    part.rename(path)


def load(path: Path) -> Demonstration:
    """Reads a demonstration."""
    with np.load(path) as file:
        return Demonstration(file["observations"], file["targets"], bool(file["success"]))


def successful(root: Path, env_id: str, count: int) -> list[Demonstration]:
    """The first `count` demonstrations that end in success; fewer where there are not so many."""
    found: list[Demonstration] = []
    for path in sorted((root / env_id).glob("*.npz")):
        if len(found) == count:
            break
        made = load(path)
        if made.success:
            found.append(made)
    return found


def demonstrate(stage: Any, task: Task, seed: int) -> Demonstration:
    """Lets the planner act in a Stage, shaken as the seed says."""
    from training.rollouts.disturbance import Disturbance
    from training.rollouts.solver import attempt

    rng = np.random.default_rng([seed, 10])
    noise = float(rng.uniform(*SHAKE)) if rng.random() < SHAKEN_SHARE else 0.0
    demonstrator = Demonstrator(stage.recorder)
    demonstrator.shake(seed, noise * (PRECISE_SHAKE if task.env_id in PRECISE else 1.0))
    attempt(demonstrator, task.env_id, seed, Disturbance(pause=PAUSE))
    return Demonstration(
        np.stack(demonstrator.observations),
        np.stack(demonstrator.targets),
        bool(stage.recorder.rows[-1][-1] > 0.5),
    )


def missing(tasks: Sequence[Task], episodes: int, root: Path) -> Iterator[tuple[Task, int]]:
    """The demonstrations still to make, a task at a time."""
    for task in tasks:
        for seed in range(FIRST_SEED, FIRST_SEED + episodes):
            if not path_of(root, task.env_id, seed).exists():
                yield task, seed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", choices=list(TASK_BY_ID), default=list(TASK_BY_ID))
    parser.add_argument("--episodes", type=int, default=120, help="of each task")
    parser.add_argument("--root", type=Path, default=Path("data/demonstrations"))
    args = parser.parse_args()
    os.environ.update(LP_NUM_THREADS="1", OMP_NUM_THREADS="1")
    # Imported here: the thread settings must stand before the simulator loads.
    from training.rollouts.simulate import Stage

    stages: dict[str, Any] = {}
    todo = list(missing([TASK_BY_ID[name] for name in args.tasks], args.episodes, args.root))
    for task, seed in tqdm(todo, unit="episode", mininterval=5):
        if task.env_id not in stages:
            for stage in stages.values():
                stage.close()
            stages = {task.env_id: Stage(task)}
        made = demonstrate(stages[task.env_id], task, seed)
        save(made, path_of(args.root, task.env_id, seed))


if __name__ == "__main__":
    main()
