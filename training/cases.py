"""Questions about held-out episodes, the answers beside the truth, and figures of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.metrics import accuracy, auc, mean_absolute_error, random_progress_error, value_order
from training.prompts import profile_of
from training.scoring import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.frame_folders import EpisodeFolder
    from training.scoring import Scorer

# Two frames are compared when a tenth of the episode lies between them, give or take, and their
# progress differs.
PAIR_SPAN: Final = (0.06, 0.16)
PAIR_DIFFERENCE: Final = 0.05
# An unfinished frame of a success counts as shortly before it from this progress on.
SHORTLY_BEFORE: Final = 0.85


@dataclass(frozen=True)
class Progress:
    """One asked frame: its truth, its share of the typical time, what was said.

    `ordered`: whether it is a frame of a success, up to its end, where progress rises with time.
    """

    env_id: str
    episode: str
    step: int
    ordered: bool
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


def first_done(episode: EpisodeFolder) -> int:
    """The first frame with the success flag; the last frame where there is none."""
    done = [index for index, frame in enumerate(episode.frames) if frame.done]
    return done[0] if done else len(episode.frames) - 1


def typical_lengths(episodes: Sequence[EpisodeFolder]) -> dict[str, float]:
    """Task -> mean step of the first success: what someone who goes by time alone knows."""
    firsts: dict[str, list[int]] = {}
    for episode in episodes:
        if episode.success:
            firsts.setdefault(episode.env_id, []).append(episode.frames[first_done(episode)].step)
    return {env_id: float(np.mean(steps)) for env_id, steps in firsts.items()}


def _by_time(episode: EpisodeFolder, index: int, lengths: dict[str, float]) -> float:
    # A task without any success in the set: its episodes' own length is all that is known.
    length = lengths.get(episode.env_id, episode.length)
    return min(episode.frames[index].step / max(length, 1), 1.0)


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
        ordered = episode.success and index <= first_done(episode)
        cases.append(
            Progress(
                episode.env_id,
                episode.folder.name,
                episode.frames[index].step,
                ordered,
                true,
                time,
                values[said],
                expected,
            )
        )
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
    """All figures of one task, or of all: by head, the model's and the two that do not look.

    What cannot be computed, for want of a success for instance, is left out.
    """
    true = [case.true for case in progress]
    found: dict[str, dict[str, float]] = {
        "progress_mae": {
            "label": mean_absolute_error([case.label for case in progress], true),
            "expected": mean_absolute_error([case.expected for case in progress], true),
            "random": random_progress_error(true, len(profile_of("progress").labels)),
            "time": mean_absolute_error([case.time for case in progress], true),
            "count": len(progress),
        },
    }
    if pairs:
        found["direction_accuracy"] = {
            "model": accuracy([case.correct for case in pairs]),
            "random": 0.5,
            "time": accuracy([case.later_is_better for case in pairs]),
            "count": len(pairs),
        }
    if len({case.done for case in completion}) == 2:
        done = [case.done for case in completion]
        found["completion_auc"] = {
            "model": auc([case.score for case in completion], done),
            "random": 0.5,
            "time": auc([case.time for case in completion], done),
            "count": len(completion),
        }
    ordered: dict[str, list[Progress]] = {}
    for case in progress:
        if case.ordered:
            ordered.setdefault(case.episode, []).append(case)
    if ordered:
        found["value_order"] = value_order(
            [([c.step for c in mine], [c.expected for c in mine]) for mine in ordered.values()]
        )
    return found
