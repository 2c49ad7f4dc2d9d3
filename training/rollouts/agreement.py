"""Do the two kinds of progress agree? The potential against time, on experts of unseen seeds.

`python -m training.rollouts.agreement --root data/rollouts` also writes the calibration beside the
rollouts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from training.rollouts.features import Track
from training.rollouts.keyframes import first_success
from training.rollouts.labels import EXPERTS, by_time, calibrate_all, save_calibrations
from training.rollouts.potential import potential
from training.rollouts.store import load, paths


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/rollouts"))
    parser.add_argument("--write", type=Path, default=Path("data/calibration.json"))
    args = parser.parse_args()
    calibrations = calibrate_all(args.root)
    save_calibrations(calibrations, args.write)
    errors: dict[str, list[np.ndarray]] = {}
    for path in paths(args.root):
        rollout = load(path)
        track = Track.from_rows(rollout.rows)
        timed = by_time(track)
        if rollout.kind not in EXPERTS or not rollout.held_out or timed is None:
            continue
        until = (first_success(track.success) or 0) + 1
        gap = np.abs(potential(rollout.env_id, track, calibrations[rollout.env_id]) - timed)
        errors.setdefault(rollout.env_id, []).append(gap[:until])
    table = Table(
        "task",
        "experts",
        "mean absolute difference",
        title="potential against time, unseen experts",
    )
    for env_id, gaps in sorted(errors.items()):
        table.add_row(env_id, str(len(gaps)), f"{np.concatenate(gaps).mean():.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
