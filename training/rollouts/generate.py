"""Makes rollouts: `python -m training.rollouts.generate --episodes 2500`.

Stop it at any time; it goes on where it was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from training.rollouts.store import HELD_OUT_FROM, path_of, save
from training.tasks import TASK_BY_ID, TASKS, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_stages: dict[str, Any] = {}


def _make(job: tuple[Task, int, Path, int | None]) -> str:
    """Makes one episode in a worker process, which keeps one simulator per task."""
    # Imported here: a worker's thread settings must stand before the simulator loads.
    from training.rollouts.simulate import Stage

    task, seed, root, stride = job
    if task.env_id not in _stages:
        _stages[task.env_id] = Stage(task)
    rollout = _stages[task.env_id].rollout(seed, stride)
    save(rollout, root)
    return str(rollout.kind)


def jobs(
    tasks: Sequence[Task], episodes: int, first_seed: int, root: Path, stride: int | None
) -> Iterator[tuple[Task, int, Path, int | None]]:
    """The episodes still to make, tasks taking turns, so that any prefix is balanced."""
    for index in range(episodes):
        task, seed = tasks[index % len(tasks)], first_seed + index // len(tasks)
        if not path_of(root, task.env_id, seed).exists():
            yield task, seed, root, stride


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--episodes", type=int, default=2500, help="episodes in total, over all tasks"
    )
    parser.add_argument(
        "--held-out", action="store_true", help="use seeds that training never sees"
    )
    parser.add_argument(
        "--root", type=Path, default=Path("data/rollouts"), help="where the episodes are written"
    )
    parser.add_argument("--only", nargs="*", help="make only these episodes, as ENV_ID:SEED")
    parser.add_argument(
        "--tasks", nargs="*", choices=list(TASK_BY_ID), help="of these tasks, kept-out ones too"
    )
    parser.add_argument("--first-seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument(
        "--stride", type=int, help="render every N-th step instead of the key frames"
    )
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    # One thread per process: the renderer's own threads would only fight over the cores.
    os.environ.update(LP_NUM_THREADS="1", OMP_NUM_THREADS="1")
    if args.only:
        named = (item.split(":") for item in args.only)
        todo = [(TASK_BY_ID[name], int(seed), args.root, args.stride) for name, seed in named]
    else:
        first_seed = args.first_seed + (HELD_OUT_FROM if args.held_out else 0)
        tasks = [TASK_BY_ID[name] for name in args.tasks] if args.tasks else TASKS
        todo = list(jobs(tasks, args.episodes, first_seed, args.root, args.stride))
    # Spawned, not forked: the simulator's Vulkan device does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for _ in tqdm(
            pool.imap_unordered(_make, todo), total=len(todo), unit="episode", mininterval=5
        ):
            pass


if __name__ == "__main__":
    main()
