"""How well the rewards of a learner judge its policies, before training and after it.

`python -m training.policies.reward_quality --server-python PATH` records the policies of the runs
that compare_rewards made, has each judged by `lrm eval`, and writes LRM's tables of its reward's
quality along training (arXiv 2603.16065, Tables V and VI). Ended, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from training.policies.compare_rewards import CHECKPOINT, ROWS, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START: Final = "start"
# Section and row of `lrm eval`'s figures -> what the table calls it.
FIGURES: Final[Mapping[tuple[str, str], str]] = {
    ("open_loop", "roc_auc:contrastive"): "ROC-AUC of the episode's reward, contrastive",
    ("open_loop", "roc_auc:progress"): "ROC-AUC of the episode's reward, progress",
    ("open_loop", "roc_auc:completion"): "ROC-AUC of the episode's reward, completion",
    ("contrastive", "kendall_tau"): "order of frames, Kendall tau",
    ("direction", "accuracy"): "direction accuracy",
    ("progress", "mae"): "progress MAE",
    ("progress", "within"): "progress within 0.2",
    ("completion", "accuracy"): "completion accuracy",
}


def judge(server_python: Path, address: str, data_set: Path, out: Path) -> None:
    """Runs `lrm eval` on one data set.

    Raises:
        CalledProcessError: questions failed, or nothing could be computed.
    """
    command = [
        *(str(server_python), "-m", "lrm_server.main", "eval", str(data_set)),
        *("--server", f"grpc://{address}", "--out", str(out)),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def cells(figures: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """What `lrm eval` found of its first model: value, and the ends of its interval.

    Args:
        figures: its figures.json. What could not be taken there is None here.
    """
    name = figures["models"][0]["name"]
    found = {
        (table["section"], row["key"]): row["models"][name]
        for table in figures["tables"]
        for row in table["rows"]
        if name in row["models"]
    }
    return {
        label: [_rounded(found[key][part]) for part in ("value", "low", "high")]
        for key, label in FIGURES.items()
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def success_rate(data_set: Path) -> tuple[int, int]:
    """(episodes that end in success, all episodes)."""
    ends = [json.loads(file.read_text())["success"] for file in data_set.glob("*/episode.json")]
    return sum(ends), len(ends)


def as_markdown(env_id: str, model: str, columns: Mapping[str, Any]) -> str:
    """The table: a column for each policy."""
    lines = [
        f"## {env_id}",
        "",
        f"`{model}` on episodes of the start and of the policies that were learned with each "
        "reward, acting with the noise that they learn with, from the same initial states. 95 % "
        "intervals over episodes.",
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    counts = [column["success"] for column in columns.values()]
    lines.append(f"| successes | {' | '.join(f'{ends} of {all_}' for ends, all_ in counts)} |")
    for label in FIGURES.values():
        values = [_cell(column["figures"][label]) for column in columns.values()]
        lines.append(f"| {label} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _cell(parts: Sequence[float | None]) -> str:
    value, low, high = parts
    if value is None:
        return "-"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def learned(root: Path, seeds: int) -> Iterator[tuple[str, list[Path]]]:
    """The rewards whose runs are all there, with their folders."""
    for name in ROWS:
        folders = [root / name.replace(" ", "_") / str(seed) for seed in range(1, seeds + 1)]
        if all((folder / "result.json").exists() for folder in folders):
            yield name, folders


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-id", default="PushCube-v1")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each reward")
    parser.add_argument("--episodes", type=int, default=20, help="recorded of each run")
    parser.add_argument("--server-python", type=Path, required=True, help="where lrm is installed")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"))
    parser.add_argument("--calibrations", type=Path, default=Path("data/calibration.json"))
    parser.add_argument("--table", type=Path, help="write the table here too")
    args = parser.parse_args()
    if not args.calibrations.exists():
        raise SystemExit(
            f"{args.calibrations} does not exist, by which frames are labelled: run "
            "training.rollouts.generate and training.rollouts.agreement first"
        )
    os.environ.update(LP_NUM_THREADS="1", OMP_NUM_THREADS="1")
    root, quality = args.runs / args.env_id, args.runs / args.env_id / "quality"
    rewards = dict(learned(root, args.seeds))
    if not rewards:
        raise SystemExit(f"{root} has no reward with {args.seeds} runs: run compare_rewards first")
    record(args, rewards, quality / "episodes")
    columns: dict[str, Any] = {}
    with served(args.server_python, args.checkpoint) as (address, identity):
        for name in (START, *rewards):
            data_set = quality / "episodes" / name.replace(" ", "_")
            out = quality / identity / data_set.name
            judge(args.server_python, address, data_set, out)
            figures = json.loads((out / "figures.json").read_text())
            columns[name] = {"success": success_rate(data_set), "figures": cells(figures)}
    text = as_markdown(args.env_id, identity, columns)
    print(text)  # noqa: T201
    if args.table is not None:
        args.table.write_text(text)
        args.table.with_suffix(".json").write_text(json.dumps(columns, indent=1) + "\n")


def record(args: Any, rewards: Mapping[str, Sequence[Path]], to: Path) -> None:
    """Records the start and every learned policy, what is missing of them."""
    # Imported here: the thread settings must stand before the simulator loads.
    from training.policies.learned_rollouts import FIRST_SEED, Recording, Run

    recording = Recording(args.env_id, args.runs / "demonstrations", args.calibrations)
    begins = range(FIRST_SEED, FIRST_SEED + args.seeds * args.episodes, args.episodes)
    for name, folders in rewards.items():
        runs = [
            Run(folder, range(begin, begin + args.episodes))
            for folder, begin in zip(folders, begins, strict=True)
        ]
        if name == next(iter(rewards)):
            # All rewards and seeds have the same start.
            recording.record(runs, to / START, start=True)
        recording.record(runs, to / name.replace(" ", "_"), start=False)
    recording.close()


if __name__ == "__main__":
    main()
