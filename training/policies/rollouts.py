"""Rollouts of cloned policies: `python -m training.policies.rollouts --tasks ... --episodes 75`.

They stand beside the planner's attempts in the same store. Stop it at any time; it goes on where it
was.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from training.rollouts.store import HELD_OUT_FROM, load, path_of, save
from training.tasks import TASK_BY_ID, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.policies.clone import Clone
    from training.rollouts.store import Rollout
    from training.tasks import Task

# The first seed of policies' rollouts, and of those that are never trained on.
FIRST_SEED: Final = 20_000
# Something happens to the policy in this share of the episodes.
UPSET_SHARE: Final = 0.4


class Rolling:
    """One task's simulator with its cloned policies.

    Args:
        task: what they attempt.
        demonstrations: folder of the demonstrations.
        policies: folder that trained policies are kept in.
    """

    def __init__(self, task: Task, demonstrations: Path, policies: Path) -> None:
        # Imported here: the thread settings must stand before the simulator loads.
        from training.policies.strength import STRENGTHS, horizon_of, policy_of
        from training.rollouts.simulate import Stage

        self.task = task
        self.horizon = horizon_of(task.env_id, demonstrations)
        self.policies: dict[str, Clone] = {
            strength.name: policy_of(strength, task.env_id, demonstrations, policies)
            for strength in STRENGTHS
        }
        self.stage = Stage(task)

    def rollout(self, seed: int) -> Rollout:
        """The episode of a seed, which says who acts and what happens to it."""
        from training.policies.acting import actor, draw_upset
        from training.policies.strength import draw_strength

        strength = draw_strength(self.task.env_id, seed)
        upset = draw_upset(self.task, seed, strength.noise, self.horizon, UPSET_SHARE)
        act = actor(self.policies[strength.name], self.task, self.horizon, upset)
        kind = f"{strength.kind}-{upset.kind}" if upset.kind else strength.kind
        return self.stage.record(seed, act, kind)

    def succeeds(self, strength: Any, seed: int) -> bool:
        """Whether an undisturbed policy's episode ends in success; nothing is rendered."""
        from training.policies.acting import Unrecorded, Upset, actor

        act = actor(
            self.policies[strength.name], self.task, self.horizon, Upset(noise=strength.noise)
        )
        env = Unrecorded(self.stage.recorder.env, self.task)
        act(env, seed)
        return env.success

    def close(self) -> None:
        """Releases the simulator."""
        self.stage.close()


def missing(
    tasks: Sequence[Task], episodes: int, first_seed: int, root: Path
) -> Iterator[tuple[Task, int]]:
    """The episodes still to make, a task at a time."""
    for task in tasks:
        for seed in range(first_seed, first_seed + episodes):
            if not path_of(root, task.env_id, seed).exists():
                yield task, seed


def success_rates(
    tasks: Sequence[Task], episodes: int, first_seed: int, root: Path
) -> dict[tuple[str, str], tuple[int, int]]:
    """(task, kind of rollout) -> (episodes that end in success, all episodes)."""
    counts: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for task in tasks:
        for seed in range(first_seed, first_seed + episodes):
            path = path_of(root, task.env_id, seed)
            if path.exists():
                rollout = load(path)
                counts[task.env_id, rollout.kind].append(bool(rollout.rows[-1, -1] > 0.5))
    return {key: (sum(ends), len(ends)) for key, ends in sorted(counts.items())}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    known, trained_on = list(TASK_BY_ID), [task.env_id for task in TASKS]
    parser.add_argument("--tasks", nargs="*", choices=known, default=trained_on)
    parser.add_argument("--episodes", type=int, default=75, help="of each task")
    parser.add_argument(
        "--held-out", action="store_true", help="use seeds that training never sees"
    )
    parser.add_argument("--root", type=Path, default=Path("data/rollouts"))
    parser.add_argument("--demonstrations", type=Path, default=Path("data/demonstrations"))
    parser.add_argument("--policies", type=Path, default=Path("data/policies"))
    parser.add_argument(
        "--rates", type=int, metavar="N", help="only print success rates over N undisturbed seeds"
    )
    args = parser.parse_args()
    os.environ.update(LP_NUM_THREADS="1", OMP_NUM_THREADS="1")
    tasks = [TASK_BY_ID[name] for name in args.tasks]
    first_seed = FIRST_SEED + (HELD_OUT_FROM if args.held_out else 0)
    if args.rates:
        _print_rates(tasks, args.rates, first_seed, args.demonstrations, args.policies)
        return
    rolling: Rolling | None = None
    todo = list(missing(tasks, args.episodes, first_seed, args.root))
    for task, seed in tqdm(todo, unit="episode", mininterval=5):
        if rolling is None or rolling.task is not task:
            if rolling is not None:
                rolling.close()
            rolling = Rolling(task, args.demonstrations, args.policies)
        save(rolling.rollout(seed), args.root)
    rates = success_rates(tasks, args.episodes, first_seed, args.root)
    for (env_id, kind), (ends, episodes) in rates.items():
        tqdm.write(f"{env_id:22} {kind:24} {ends:4} of {episodes:4} succeed")


def _print_rates(
    tasks: Sequence[Task], episodes: int, first_seed: int, demonstrations: Path, policies: Path
) -> None:
    from training.policies.strength import STRENGTHS

    for task in tasks:
        rolling = Rolling(task, demonstrations, policies)
        for strength in STRENGTHS:
            seeds = range(first_seed, first_seed + episodes)
            rate = np.mean([rolling.succeeds(strength, seed) for seed in seeds])
            tqdm.write(
                f"{task.env_id:22} {strength.kind:14} {rate:6.1%} of {episodes} seeds, "
                f"{rolling.horizon} steps"
            )
        rolling.close()


if __name__ == "__main__":
    main()
