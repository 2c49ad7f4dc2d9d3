"""Scores the held-out frames.

`python -m training.evaluate --checkpoint FOLDER --json figures.json`.

Prints per task and overall: the error of progress, the accuracy of comparisons, the area under the
curve of completion, the order of progress in time on successes; beside them what answering at
random and what answering by time alone would get. Three sets: the planner's attempts at the tasks
that are trained on, its attempts at the tasks that are kept out, and what cloned policies do.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from training.cases import (
    completion_cases,
    figures,
    pair_cases,
    progress_cases,
    typical_lengths,
)
from training.frame_folders import EpisodeFolder, read_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.scoring import Scorer

HERE: Final = Path(__file__).parent
# Name of a set -> its folder; the first is the one that the checkpoint's headline figures are of.
SETS: Final[dict[str, Path]] = {
    "planner": HERE / "heldout",
    "kept_out": HERE / "heldout_kept_out",
    "policies": HERE / "heldout_policies",
}
TITLES: Final = {
    "planner": "the planner's attempts at the tasks trained on",
    "kept_out": "the planner's attempts at tasks kept out",
    "policies": "cloned policies",
}


def evaluate(
    episodes: Sequence[EpisodeFolder], score: Scorer, lengths: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Figures of every task and of all together.

    Args:
        episodes: what is asked about.
        score: who answers.
        lengths: task -> typical step of success, for the answers by time; from `episodes` unless
            given.
    """
    typical = dict(lengths or typical_lengths(episodes))
    progress = progress_cases(episodes, score, typical)
    pairs = pair_cases(episodes, score)
    completion = completion_cases(episodes, score, typical)
    result = {
        env_id: figures(
            [case for case in progress if case.env_id == env_id],
            [case for case in pairs if case.env_id == env_id],
            [case for case in completion if case.env_id == env_id],
        )
        for env_id in sorted({episode.env_id for episode in episodes})
    }
    return {
        "episodes": len(episodes),
        "successes": sum(episode.success for episode in episodes),
        "tasks": result,
        "overall": figures(progress, pairs, completion),
    }


def evaluate_sets(sets: Mapping[str, Path], score: Scorer) -> dict[str, Any]:
    """The figures of every set under its name."""
    episodes = {name: read_all(folder) for name, folder in sets.items()}
    lengths = typical_lengths([episode for part in episodes.values() for episode in part])
    return {name: evaluate(part, score, lengths) for name, part in episodes.items() if part}


def show(title: str, result: dict[str, Any]) -> Table:
    """The figures of a set as a table."""
    table = Table(title=f"{result['episodes']} episodes, {title}: model (at random | by time)")
    columns = ("progress MAE", "expected", "direction accuracy", "completion AUC", "VOC")
    for heading in ("task", *columns):
        table.add_column(heading)
    for name, part in [*result["tasks"].items(), ("all", result["overall"])]:
        order = part.get("value_order")
        table.add_row(
            name,
            _beside(part.get("progress_mae"), "label"),
            f"{part['progress_mae']['expected']:.3f}",
            _beside(part.get("direction_accuracy"), "model"),
            _beside(part.get("completion_auc"), "model"),
            f"{order['spearman']:.3f}" if order else "-",
        )
    return table


def _beside(part: dict[str, float] | None, key: str) -> str:
    return f"{part[key]:.3f} ({part['random']:.3f} | {part['time']:.3f})" if part else "-"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument(
        "--scorer",
        choices=("engine", "transformers"),
        default="engine",
        help="the server's engine, or transformers alone where there is no vLLM",
    )
    args = parser.parse_args()
    chosen = {name: SETS[name] for name in args.sets}
    # Imported here: the figures above need neither torch nor an engine.
    if args.scorer == "engine":
        from training.scoring_engine import engine_scorer

        with engine_scorer(args.checkpoint) as score:
            sets = evaluate_sets(chosen, score)
        scored_by = "the server's engine (vLLM)"
    else:
        from training.scoring_transformers import TransformersScorer

        sets = evaluate_sets(chosen, TransformersScorer(args.checkpoint))
        scored_by = "the training code's forward pass"
    console = Console(width=max(Console().width, 130))
    for name, result in sets.items():
        console.print(show(TITLES[name], result))
    if args.json is not None:
        content = {"scored_by": scored_by, "sets": sets}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
