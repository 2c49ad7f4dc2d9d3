"""Writes the frames that ship with the repository, of seeds that were never trained on.

`python -m training.heldout evaluation` writes training/heldout, `python -m training.heldout demo`
the demo's rollouts.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from training import frame_folders
from training.dataset import Episode, load_episodes
from training.rollouts.keyframes import first_success
from training.rollouts.labels import load_calibrations
from training.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

# Frames per episode in the evaluation set, besides the last.
FRAMES: Final = 10
# Progress at which an unfinished frame stands shortly before success.
SHORTLY_BEFORE: Final = 0.85


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


def balanced(episodes: list[Episode], each: int) -> Iterator[Episode]:
    """Up to `each` successes and as many failures of every task, kinds of failure taking turns."""
    for task in TASKS:
        mine = [episode for episode in episodes if episode.task is task]
        yield from [episode for episode in mine if episode.success][:each]
        failures: dict[str, list[Episode]] = {}
        for episode in mine:
            if not episode.success:
                failures.setdefault(episode.kind, []).append(episode)
        taken = 0
        while taken < each and any(failures.values()):
            for kind in sorted(failures):
                if failures[kind] and taken < each:
                    yield failures[kind].pop(0)
                    taken += 1


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["evaluation", "demo"])
    parser.add_argument(
        "--data", type=Path, help="rollouts (data/rollouts, for the demo data/demo)"
    )
    parser.add_argument("--calibrations", type=Path, default=Path("data/calibration.json"))
    parser.add_argument("--to", type=Path, help="folder to write, emptied first")
    parser.add_argument("--each", type=int, default=9, help="successes, and failures, of each task")
    parser.add_argument(
        "--seeds", nargs="*", default=[], help="demo: which episodes, as ENV_ID:SEED"
    )
    parser.add_argument("--quality", type=int, default=75, help="JPEG quality")
    args = parser.parse_args()
    demo = args.what == "demo"
    data = args.data or Path("data/demo" if demo else "data/rollouts")
    target = args.to or Path("server/lrm_server/demo/rollouts" if demo else "training/heldout")
    episodes = load_episodes(data, load_calibrations(args.calibrations), held_out=True)
    if demo:
        wanted = set(args.seeds)
        chosen = [e for e in episodes if not wanted or f"{e.task.env_id}:{e.seed}" in wanted]
    else:
        chosen = list(balanced(episodes, args.each))
    shutil.rmtree(target, ignore_errors=True)
    for episode in chosen:
        frames = list(range(len(episode.steps))) if demo else spread(episode)
        frame_folders.write(episode, frames, target, args.quality)


if __name__ == "__main__":
    main()
