"""What `lrm filter` gains a policy: `python -m training.policies.refit --server-python PATH`.

A weak clone rolls out; its rollouts are judged by a served checkpoint; the policy is trained anew
on what is kept, on all, and on the truly successful ones. Stop it at any time; it goes on where it
was, and another checkpoint costs only its own judging and its own refit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from training.policies.refit_arms import ARMS, AT_END, Selection, as_markdown, figures
from training.rollouts.store import HELD_OUT_FROM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from training.policies.refit_runs import Attempt

# Rollouts' seeds of the first run, and how far apart the runs' are.
FIRST_SEED: Final = 50_000
SEEDS_APART: Final = 1_000
# The seeds of the evaluation; no rollout and no demonstration has them.
EVALUATION_SEED: Final = HELD_OUT_FROM + 50_000
EMBEDDED: Final = Path("server/lrm_server/checkpoints/embedded")
RESULT: Final = Path("training/policies/refit.json")
TABLES: Final = Path("training/policies/refit.md")


@dataclass(frozen=True)
class Start:
    """The weak policy of a task: made so that it succeeds in between a third and two thirds.

    Attributes:
        demonstrations: how many it is cloned from.
        noise: standard deviation of the noise on its joint targets while it rolls out, in radians.
    """

    demonstrations: int
    noise: float = 0.01


STARTS: Final[dict[str, Start]] = {
    "PushCube-v1": Start(6),
    "PickCube-v1": Start(30),
}


def judge(server_python: Path, checkpoint: Path, args: Any, root: Path, to: Path) -> Any:
    """Runs `lrm filter` in the server's environment; returns its summary.

    Raises:
        RuntimeError: it failed.
    """
    summary = to / "filter.json"
    if not summary.exists():
        # What an interrupted run left there is not whole.
        shutil.rmtree(to, ignore_errors=True)
        command = [
            str(server_python),
            *("-m", "lrm_server.main", "filter", str(root), str(to)),
            *("--checkpoint", str(checkpoint), "--heads", "completion"),
            *("--last", str(args.last), "--threshold", str(args.threshold)),
        ]
        done = subprocess.run(command, check=False)
        if not summary.exists():
            raise RuntimeError(f"lrm filter ended with status {done.returncode}")
    return json.loads(summary.read_text())


def digest_of(checkpoint: Path) -> str:
    """Names a checkpoint by the content of its files, hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in checkpoint.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def select(attempts: Sequence[Attempt], summary: Mapping[str, Any]) -> tuple[set[int], Selection]:
    """The seeds that a filter keeps of a run's rollouts, and how well it chose."""
    kept_ids = set(summary["kept"])
    kept = {attempt.seed for attempt in attempts if attempt.name in kept_ids}
    won = {attempt.seed for attempt in attempts if attempt.success}
    without = {*summary["not_judged"], *summary["not_readable"]}
    failed = sum(attempt.name in without for attempt in attempts)
    return kept, Selection(len(attempts), len(won), len(kept), len(won & kept), failed)


def arms_of(attempts: Sequence[Attempt], kept: Iterable[int]) -> dict[str, list[int]]:
    """Arm -> seeds of the rollouts that it is refitted on."""
    return {
        "none": [],
        "all": [attempt.seed for attempt in attempts],
        "filtered": sorted(kept),
        "successful": [attempt.seed for attempt in attempts if attempt.success],
    }


def measure_task(env_id: str, args: Any) -> tuple[dict[str, Any], Any]:
    """A task's figures, and the summary of the filter that they rest on.

    Raises:
        RuntimeError: the filter failed.
        ValueError: there are too few demonstrations.
    """
    # Imported here: the thread settings must stand before the simulator loads.
    from training.policies.refit_runs import Bench, Run

    start, root = STARTS[env_id], args.root / env_id
    runs = [
        Run(
            root=root / f"run{number + 1}",
            env_id=env_id,
            number=number,
            demonstrations=args.demonstrations,
            count=start.demonstrations,
            noise=start.noise,
            steps=args.steps,
            seeds=range(first := FIRST_SEED + number * SEEDS_APART, first + args.rollouts),
            evaluation=range(EVALUATION_SEED, EVALUATION_SEED + args.evaluations),
        )
        for number in range(args.runs)
    ]
    # The frames of all runs are one data set, so that the server starts once.
    made = f"{args.runs}x{args.rollouts}-{start.demonstrations}-{start.noise:g}-{args.steps}"
    episodes = root / f"episodes-{made}"
    ends: dict[str, list[list[bool]]] = {arm: [] for arm in ARMS}
    selections = []
    with Bench(env_id) as bench:
        for run in runs:
            run.roll_out(bench, episodes)
        judged = f"judged-{digest_of(args.checkpoint)}-{args.last}-{args.threshold:g}-{made}"
        summary = judge(args.server_python, args.checkpoint, args, episodes, root / judged)
        for run in runs:
            attempts = run.attempts()
            kept, selection = select(attempts, summary)
            selections.append(selection)
            for arm, seeds in arms_of(attempts, kept).items():
                ends[arm].append(run.evaluate(bench, seeds))
                rate = sum(ends[arm][-1]) / args.evaluations
                tqdm.write(f"{env_id} run {run.number + 1}, {ARMS[arm]}: {rate:.1%}")
    return figures(ends, selections), summary


def main() -> None:
    """The command line."""
    args = _arguments()
    os.environ.update(LP_NUM_THREADS="1", OMP_NUM_THREADS="1")
    tasks: dict[str, Any] = {}
    result: dict[str, Any] = {"settings": {}, "tasks": tasks}
    for env_id in args.tasks:
        tasks[env_id], summary = measure_task(env_id, args)
        result["settings"] = {
            "checkpoint": summary["model"]["id"],
            "fingerprint": summary["model"]["fingerprint"],
            "runs": args.runs,
            "rollouts": args.rollouts,
            "evaluations": args.evaluations,
            "last": args.last,
            "threshold": args.threshold,
            "training_steps": args.steps,
            "starts": {name: vars(STARTS[name]) for name in tasks},
        }
        # After each task, so that an ended run has written what it knows.
        args.json.write_text(json.dumps(result, indent=1) + "\n")
        args.tables.write_text(as_markdown(result))
    tqdm.write(as_markdown(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", choices=list(STARTS), default=list(STARTS))
    parser.add_argument(
        "--server-python", type=Path, required=True, help="interpreter that has the server"
    )
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED, help="the judge's folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rollouts", type=int, default=150, help="of each run")
    parser.add_argument("--evaluations", type=int, default=100, help="seeds of the evaluation")
    parser.add_argument("--steps", type=int, default=2500, help="of each training")
    parser.add_argument(
        "--last",
        type=int,
        default=AT_END,
        choices=range(1, AT_END + 1),
        help="frames that are judged",
    )
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--root", type=Path, default=Path("data/refit"))
    parser.add_argument("--demonstrations", type=Path, default=Path("data/demonstrations"))
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--tables", type=Path, default=TABLES)
    return parser.parse_args()


if __name__ == "__main__":
    main()
