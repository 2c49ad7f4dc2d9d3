"""Writes the frames that ship with the repository, of seeds that were never trained on.

`python -m training.heldout evaluation` writes the sets of training.evaluate,
`python -m training.heldout demo` the demo's rollouts.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from training import frame_folders
from training.dataset import Episode, load_episodes
from training.evaluate import SETS
from training.rollouts.keyframes import first_success
from training.rollouts.labels import load_calibrations
from training.tasks import KEPT_OUT, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.tasks import Task

# Frames per episode in the evaluation set, besides the last.
FRAMES: Final = 10
# Progress at which an unfinished frame stands shortly before success.
SHORTLY_BEFORE: Final = 0.85
DEMO: Final = Path("server/lrm_server/demo/rollouts")
# What the kinds of cloned policies begin with; and their successes, and failures, of each task.
CLONED: Final = "clone"
POLICY_EACH: Final = 6
# Seeds are given out in ranges that begin at its multiples.
SEED_RANGE: Final = 1000


def spread(episode: Episode) -> list[int]:
    """About FRAMES key frames of an episode.

    Evenly spread in time, the one before success and the last included.
    """
    wanted = np.linspace(0, int(episode.steps[-1]), FRAMES)
    done = first_success(episode.done)
    if done is not None and episode.success:
        # After success nothing happens, so tenths run to the first success.
        wanted = np.linspace(0, int(episode.steps[done]), FRAMES)
    chosen = {int(np.abs(episode.steps - step).argmin()) for step in wanted} | {
        len(episode.steps) - 1
    }
    close = np.flatnonzero(~episode.done & (episode.progress >= SHORTLY_BEFORE))
    if episode.success and len(close):
        chosen.add(int(close[-1]))
    return sorted(chosen)


def balanced(episodes: list[Episode], task: Task, each: int) -> list[Episode]:
    """Up to `each` successes and as many failures of a task, kinds of failure taking turns."""
    # Ranges of seeds differ in how they are filmed: they take turns too.
    mine = sorted(
        (episode for episode in episodes if episode.task is task),
        key=lambda episode: (episode.seed % SEED_RANGE, episode.seed),
    )
    chosen = [episode for episode in mine if episode.success][:each]
    failures: dict[str, list[Episode]] = {}
    for episode in mine:
        if not episode.success:
            failures.setdefault(episode.kind, []).append(episode)
    turns = [
        e for turn in zip_longest(*(failures[kind] for kind in sorted(failures))) for e in turn
    ]
    return chosen + [episode for episode in turns if episode is not None][:each]


def evaluation_sets(episodes: list[Episode], each: int) -> Iterator[tuple[str, Episode]]:
    """The episodes of training.evaluate's sets, each with the set's name."""
    cloned = [episode for episode in episodes if episode.kind.startswith(CLONED)]
    planned = [episode for episode in episodes if not episode.kind.startswith(CLONED)]
    for name, tasks in (("planner", TASKS), ("kept_out", KEPT_OUT)):
        for task in tasks:
            yield from ((name, episode) for episode in balanced(planned, task, each))
    for task in (*TASKS, *KEPT_OUT):
        yield from (("policies", episode) for episode in balanced(cloned, task, POLICY_EACH))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["evaluation", "demo"])
    parser.add_argument(
        "--data", type=Path, help="rollouts (data/rollouts, for the demo data/demo)"
    )
    parser.add_argument("--calibrations", type=Path, default=Path("data/calibration.json"))
    parser.add_argument("--each", type=int, default=7, help="successes, and failures, of each task")
    parser.add_argument(
        "--seeds", nargs="*", default=[], help="demo: which episodes, as ENV_ID:SEED"
    )
    parser.add_argument("--quality", type=int, default=75, help="JPEG quality")
    args = parser.parse_args()
    data = args.data or Path("data/demo" if args.what == "demo" else "data/rollouts")
    episodes = load_episodes(
        data, load_calibrations(args.calibrations), held_out=True, tasks=(*TASKS, *KEPT_OUT)
    )
    if args.what == "demo":
        wanted = set(args.seeds)
        shutil.rmtree(DEMO, ignore_errors=True)
        for episode in episodes:
            if not wanted or f"{episode.task.env_id}:{episode.seed}" in wanted:
                frame_folders.write(episode, list(range(len(episode.steps))), DEMO, args.quality)
        return
    for folder in SETS.values():
        shutil.rmtree(folder, ignore_errors=True)
    for name, episode in evaluation_sets(episodes, args.each):
        frame_folders.write(episode, spread(episode), SETS[name], args.quality)


if __name__ == "__main__":
    main()
