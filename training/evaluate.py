"""Scores the held-out frames.

`python -m training.evaluate --checkpoint FOLDER --json figures.json`.

Prints per task and overall: the error of progress, the accuracy of comparisons, the area under the
curve of completion; beside them what answering at random and what answering by time alone would
get.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from training.frame_folders import EpisodeFolder, read_all
from training.metrics import accuracy, auc, mean_absolute_error, random_progress_error
from training.prompts import profile_of
from training.scoring import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.scoring import Scorer

HELD_OUT: Final = Path(__file__).parent / "heldout"
# Two frames are compared when a tenth of the episode lies between them, give or take, and their
# progress differs.
PAIR_SPAN: Final = (0.06, 0.16)
PAIR_DIFFERENCE: Final = 0.05
# An unfinished frame of a success counts as shortly before it from this progress on.
SHORTLY_BEFORE: Final = 0.85


@dataclass(frozen=True)
class Progress:
    """One asked frame: its truth, its share of the typical time, what was said."""

    env_id: str
    true: float
    time: float
    label: float
    expected: float


@dataclass(frozen=True)
class Pair:
    """One comparison: whether the answer is right, and whether "the later one" is."""

    env_id: str
    correct: bool
    later_is_better: bool


@dataclass(frozen=True)
class Completion:
    """One frame asked whether it is done."""

    env_id: str
    done: bool
    time: float
    score: float


def typical_lengths(episodes: Sequence[EpisodeFolder]) -> dict[str, float]:
    """Task -> mean step of the first success: what someone who goes by time alone knows."""
    firsts: dict[str, list[int]] = {}
    for episode in episodes:
        if episode.success:
            firsts.setdefault(episode.env_id, []).append(
                next(f.step for f in episode.frames if f.done)
            )
    return {env_id: float(np.mean(steps)) for env_id, steps in firsts.items()}


def _by_time(episode: EpisodeFolder, index: int, lengths: dict[str, float]) -> float:
    return min(episode.frames[index].step / lengths[episode.env_id], 1.0)


def progress_cases(
    episodes: Sequence[EpisodeFolder], score: Scorer, lengths: dict[str, float]
) -> list[Progress]:
    """Asks for the progress of every frame after the first, which is given as the initial one."""
    asked = [(episode, index) for episode in episodes for index in range(1, len(episode.frames))]
    answers = score(
        [
            Query("progress", e.task, {"initial": e.jpeg(0), "current": e.jpeg(index)})
            for e, index in asked
        ]
    )
    values = profile_of("progress").values
    cases = []
    for (episode, index), shares in zip(asked, answers, strict=True):
        said = max(shares, key=shares.__getitem__)
        expected = sum(share * values[label] for label, share in shares.items())
        true = episode.frames[index].progress
        time = _by_time(episode, index, lengths)
        cases.append(Progress(episode.env_id, true, time, values[said], expected))
    return cases


def near_pairs(episode: EpisodeFolder) -> list[tuple[int, int]]:
    """Frames (earlier, later) about a tenth of the episode apart whose progress differs.

    An episode's extent is that of its listed tenths: up to the first success for a success, all of
    it for a failure.
    """
    frames = episode.frames
    ends = [f.step for f in frames if f.done] if episode.success else []
    extent = max(ends[0] if ends else frames[-1].step, 1)
    return [
        (one, other)
        for one in range(len(frames))
        for other in range(one + 1, len(frames))
        if PAIR_SPAN[0] <= (frames[other].step - frames[one].step) / extent <= PAIR_SPAN[1]
        and abs(frames[other].progress - frames[one].progress) >= PAIR_DIFFERENCE
    ]


def pair_cases(episodes: Sequence[EpisodeFolder], score: Scorer) -> list[Pair]:
    """Asks about every near pair in both orders; a tie is wrong."""
    asked = [
        (episode, *order)
        for episode in episodes
        for one, other in near_pairs(episode)
        for order in ((one, other), (other, one))
    ]
    answers = score(
        [
            Query("contrastive", e.task, {"previous": e.jpeg(a), "current": e.jpeg(b)})
            for e, a, b in asked
        ]
    )
    cases = []
    for (episode, a, b), shares in zip(asked, answers, strict=True):
        first, second = episode.frames[a], episode.frames[b]
        truth = "current" if second.progress > first.progress else "previous"
        lie = "previous" if truth == "current" else "current"
        later_is_better = (second.progress > first.progress) == (second.step > first.step)
        cases.append(Pair(episode.env_id, shares[truth] > shares[lie], later_is_better))
    return cases


def completion_cases(
    episodes: Sequence[EpisodeFolder], score: Scorer, lengths: dict[str, float]
) -> list[Completion]:
    """Asks frames that are done, the last ones of failures, and those shortly before success."""
    asked = []
    for episode in episodes:
        for index, frame in enumerate(episode.frames):
            last_of_failure = not episode.success and index == len(episode.frames) - 1
            shortly_before = episode.success and not frame.done and frame.progress >= SHORTLY_BEFORE
            if frame.done or last_of_failure or shortly_before:
                asked.append((episode, index))
    answers = score([Query("completion", e.task, {"current": e.jpeg(index)}) for e, index in asked])
    return [
        Completion(e.env_id, e.frames[index].done, _by_time(e, index, lengths), shares["yes"])
        for (e, index), shares in zip(asked, answers, strict=True)
    ]


def figures(
    progress: list[Progress], pairs: list[Pair], completion: list[Completion]
) -> dict[str, dict[str, float]]:
    """All figures of one task, or of all: by head, the model's and the two that do not look."""
    true = [case.true for case in progress]
    return {
        "progress_mae": {
            "label": mean_absolute_error([case.label for case in progress], true),
            "expected": mean_absolute_error([case.expected for case in progress], true),
            "random": random_progress_error(true, len(profile_of("progress").labels)),
            "time": mean_absolute_error([case.time for case in progress], true),
            "count": len(progress),
        },
        "direction_accuracy": {
            "model": accuracy([case.correct for case in pairs]),
            "random": 0.5,
            "time": accuracy([case.later_is_better for case in pairs]),
            "count": len(pairs),
        },
        "completion_auc": {
            "model": auc([case.score for case in completion], [case.done for case in completion]),
            "random": 0.5,
            "time": auc([case.time for case in completion], [case.done for case in completion]),
            "count": len(completion),
        },
    }


def evaluate(episodes: Sequence[EpisodeFolder], score: Scorer) -> dict[str, Any]:
    """Figures of every task and of all together."""
    lengths = typical_lengths(episodes)
    progress = progress_cases(episodes, score, lengths)
    pairs = pair_cases(episodes, score)
    completion = completion_cases(episodes, score, lengths)
    result = {
        env_id: figures(
            [case for case in progress if case.env_id == env_id],
            [case for case in pairs if case.env_id == env_id],
            [case for case in completion if case.env_id == env_id],
        )
        for env_id in sorted(lengths)
    }
    return {
        "episodes": len(episodes),
        "tasks": result,
        "overall": figures(progress, pairs, completion),
    }


def show(result: dict[str, Any]) -> Table:
    """The figures as a table."""
    table = Table(title=f"{result['episodes']} unseen episodes: model (at random | by time alone)")
    for heading in ("task", "progress MAE", "expected", "direction accuracy", "completion AUC"):
        table.add_column(heading)
    for name, part in [*result["tasks"].items(), ("all", result["overall"])]:
        progress, pairs, completion = (
            part[k] for k in ("progress_mae", "direction_accuracy", "completion_auc")
        )
        table.add_row(
            name,
            f"{progress['label']:.3f} ({progress['random']:.3f} | {progress['time']:.3f})",
            f"{progress['expected']:.3f}",
            f"{pairs['model']:.3f} ({pairs['random']:.3f} | {pairs['time']:.3f})",
            f"{completion['model']:.3f} ({completion['random']:.3f} | {completion['time']:.3f})",
        )
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, default=HELD_OUT)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument(
        "--scorer",
        choices=("engine", "transformers"),
        default="engine",
        help="the server's engine, or transformers alone where there is no vLLM",
    )
    args = parser.parse_args()
    episodes = read_all(args.heldout)
    # Imported here: the figures above need neither torch nor an engine.
    if args.scorer == "engine":
        from training.scoring_engine import engine_scorer

        with engine_scorer(args.checkpoint) as score:
            result = evaluate(episodes, score)
        result["scored_by"] = "the server's engine (vLLM)"
    else:
        from training.scoring_transformers import TransformersScorer

        result = evaluate(episodes, TransformersScorer(args.checkpoint))
        result["scored_by"] = "the training code's forward pass"
    Console(width=max(Console().width, 110)).print(show(result))
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
