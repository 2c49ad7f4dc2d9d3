"""One run of the refit experiment: its start, its rollouts, its refitted policies, all on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from training.policies.acting import Unrecorded, Upset, actor
from training.policies.clone import Clone, Training, clone, load, save
from training.policies.demonstrations import (
    Demonstration,
    Demonstrator,
    successful,
)
from training.policies.demonstrations import load as load_demonstration
from training.policies.demonstrations import save as save_demonstration
from training.policies.refit_arms import AT_END
from training.policies.strength import horizon_of
from training.rollouts.store import encode_jpeg
from training.tasks import TASK_BY_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

# The frames at the end of a rollout that are filmed lie so many steps apart.
APART: Final = 4


class Bench:
    """A task's simulator, opened when it is first needed."""

    def __init__(self, env_id: str) -> None:
        self.task = TASK_BY_ID[env_id]
        self._stage: Any = None

    @property
    def stage(self) -> Any:
        """The simulator with its camera."""
        if self._stage is None:
            from training.rollouts.simulate import Stage

            self._stage = Stage(self.task)
        return self._stage

    def film(self, steps: Sequence[int]) -> list[bytes]:
        """The last episode's states at `steps`, filmed as usual, as JPEG."""
        recorder = self.stage.recorder
        frames = []
        for step in steps:
            recorder.unwrapped.set_state_dict(recorder.states[step])
            frames.append(encode_jpeg(recorder.render()[0].cpu().numpy()))
        return frames

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stage is not None:
            self._stage.close()


@dataclass(frozen=True)
class Attempt:
    """A rollout of the start.

    Attributes:
        name: of its recorded episode.
        seed: of the simulator.
        success: whether it ends in success.
    """

    name: str
    seed: int
    success: bool


@dataclass(frozen=True)
class Run:
    """One repetition of the experiment: own weights, own rollouts.

    Attributes:
        root: folder that it is kept in.
        env_id: the task.
        number: of the run; seeds the weights of all its policies.
        demonstrations: folder of the demonstrations.
        count: demonstrations that every policy is trained on.
        noise: on the joint targets of the rollouts, in radians.
        steps: of each training; the same for all, so that no arm wins by more of them.
        seeds: of the rollouts.
        evaluation: seeds of the evaluation.
    """

    root: Path
    env_id: str
    number: int
    demonstrations: Path
    count: int
    noise: float
    steps: int
    seeds: range
    evaluation: range

    def roll_out(self, bench: Bench, episodes: Path) -> None:
        """Makes the rollouts that are missing, and their recorded episodes under `episodes`."""
        horizon = horizon_of(self.env_id, self.demonstrations)
        missing = [
            seed
            for seed in self.seeds
            # An episode's JSON is written last.
            if not (
                self._rollout(seed).exists()
                and (episodes / self._name(seed) / "episode.json").exists()
            )
        ]
        if not missing:
            return
        policy = self._policy([])
        act = actor(policy, bench.task, horizon, Upset(noise=self.noise))
        for seed in tqdm(missing, desc=f"{self.env_id} run {self.number + 1}", mininterval=5):
            recorder = bench.stage.recorder
            demonstrator = Demonstrator(recorder)
            act(demonstrator, seed)
            made = Demonstration(
                np.stack(demonstrator.observations),
                np.stack(demonstrator.targets),
                bool(recorder.rows[-1][-1] > 0.5),
            )
            steps = [0, *(horizon - APART * back for back in reversed(range(AT_END)))]
            done = [bool(recorder.rows[step][-1] > 0.5) for step in steps]
            self._record(episodes, seed, steps, bench.film(steps), done)
            save_demonstration(made, self._rollout(seed))

    def attempts(self) -> list[Attempt]:
        """The rollouts that were made."""
        return [
            Attempt(self._name(seed), seed, load_demonstration(self._rollout(seed)).success)
            for seed in self.seeds
        ]

    def evaluate(self, bench: Bench, seeds: Sequence[int]) -> list[bool]:
        """Success by evaluation seed of the policy that is refitted on some of the rollouts."""
        path = self._path(seeds, f"{len(self.evaluation)}.json")
        if not path.exists():
            policy = self._policy(seeds)
            horizon = horizon_of(self.env_id, self.demonstrations)
            act = actor(policy, bench.task, horizon, Upset())
            env = Unrecorded(bench.stage.recorder.env, bench.task)
            ends = []
            for seed in tqdm(self.evaluation, desc=f"{self.env_id} evaluation", mininterval=5):
                act(env, seed)
                ends.append(env.success)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(ends))
            part.rename(path)
        ends = json.loads(path.read_text())
        return [bool(end) for end in ends]

    def _policy(self, seeds: Sequence[int]) -> Clone:
        """The policy that is trained on the demonstrations and some of the rollouts."""
        path = self._path(seeds, "pt")
        if path.exists():
            return load(path)
        shown = successful(self.demonstrations, self.env_id, self.count)
        if len(shown) < self.count:
            raise ValueError(
                f"{self.env_id} has {len(shown)} successful demonstrations of {self.count}: run "
                "training.policies.demonstrations with more --episodes"
            )
        own = [load_demonstration(self._rollout(seed)) for seed in seeds]
        policy = clone([*shown, *own], Training(self.steps, seed=self.number))
        save(policy, path)
        return policy

    def _path(self, seeds: Sequence[int], suffix: str) -> Path:
        """A policy's file: the same demonstrations, rollouts and training are the same policy."""
        made_from = json.dumps([self.count, self.noise, self.steps, *sorted(seeds)])
        digest = hashlib.sha256(made_from.encode()).hexdigest()[:12]
        return self.root / "policies" / f"{digest}.{suffix}"

    def _rollout(self, seed: int) -> Path:
        start = f"{self.count}-{self.noise:g}-{self.steps}"
        return self.root / f"rollouts-{start}" / f"{seed:06d}.npz"

    def _name(self, seed: int) -> str:
        return f"{self.env_id.split('-')[0].lower()}_{seed}"

    def _record(
        self, root: Path, seed: int, steps: Sequence[int], jpegs: Sequence[bytes], done: list[bool]
    ) -> None:
        """Writes a recorded episode: frames, and an episode.json last."""
        folder = root / self._name(seed)
        folder.mkdir(parents=True, exist_ok=True)
        frames = []
        for step, jpeg, at_goal in zip(steps, jpegs, done, strict=True):
            file = f"{step:04d}.jpg"
            (folder / file).write_bytes(jpeg)
            frames.append({"file": file, "step": step, "done": at_goal})
        content = {
            "env_id": self.env_id,
            "task": f"{TASK_BY_ID[self.env_id].text}.",
            "seed": seed,
            "kind": "clone",
            "success": done[-1],
            "length": steps[-1],
            "frames": frames,
        }
        (folder / "episode.json").write_text(json.dumps(content, indent=1) + "\n")
