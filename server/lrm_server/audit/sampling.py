"""Which episodes, frames and pairs are asked about: bounded, spread over tasks, seeded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from lrm_server.audit.labels import Truth, truth_of
from lrm_server.recordings.episode import RecordedEpisode


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is asked.

    Attributes:
        episodes: at most so many episodes.
        frames: at most so many frames of each, at least 2.
        pairs: pairs of frames of each.
        probes: episodes whose frames are asked again under edits, other words and readouts.
        seed: of every choice.
    """

    episodes: int = 60
    frames: int = 14
    pairs: int = 2
    probes: int = 20
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An episode that was chosen, its truth, and the places of the frames that are asked.

    Attributes:
        episode: as recorded.
        truth: of all of its frames.
        frames: ascending places in ``episode.frames``. The reset observation is not among them:
            it is what progress is measured from, and no query on the episode clock.
    """

    episode: RecordedEpisode
    truth: Truth
    frames: tuple[int, ...]


def choose_cases(episodes: Sequence[RecordedEpisode], budget: Budget) -> list[Case]:
    """Chosen episodes, in turn from each task's successes, failures and unlabelled attempts."""
    truths = [truth_of(episode) for episode in episodes]
    strata: dict[tuple[str, bool | None], list[int]] = defaultdict(list)
    for place in np.random.default_rng(budget.seed).permutation(len(episodes)):
        strata[episodes[place].task, truths[place].success].append(int(place))
    in_order = [strata[key] for key in sorted(strata, key=repr)]
    turns = (place for turn in zip_longest(*in_order) for place in turn if place is not None)
    chosen = sorted(place for _, place in zip(range(budget.episodes), turns, strict=False))
    return [
        Case(episodes[place], truths[place], _frames(truths[place], episodes[place], budget.frames))
        for place in chosen
    ]


def choose_probes(cases: Sequence[Case], budget: Budget) -> list[tuple[int, int]]:
    """Frames to ask again: (case, place) of an early, a middle or a late frame, and of the last.

    The last frames are where rewards are decided; the others are seeded. Successes and failures
    take turns.
    """
    random = np.random.default_rng([budget.seed, 1])
    usable = [number for number, case in enumerate(cases) if case.frames]
    random.shuffle(usable)
    groups = [[n for n in usable if cases[n].truth.success is end] for end in (True, False, None)]
    turns = [n for turn in zip_longest(*groups) for n in turn if n is not None][: budget.probes]
    probes: list[tuple[int, int]] = []
    for number in sorted(turns):
        *others, last = cases[number].frames
        if others:
            probes.append((number, int(random.choice(others))))
        probes.append((number, last))
    return probes


def choose_pairs(
    case: Case, count: int, least: float, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Pairs of places (earlier, later) whose true progress differs: falls, then near ones.

    Up to half of the pairs are such that the truth falls between them, which tells progress from
    time: the deepest falls, and of equal ones the longest, so that a model which is merely late
    has seen them too.

    Args:
        case: whose frames are paired.
        count: at most so many.
        least: least difference in true progress; without labels any two frames will do.
        random: breaks the order among equals.
    """
    progress = case.truth.progress
    every = [(one, other) for one, other in _pairs(case.frames)]
    if progress is not None:
        every = [(a, b) for a, b in every if abs(progress[b] - progress[a]) >= least]
    random.shuffle(every)
    # A reward compares frames that are some steps apart, not the two ends of an episode.
    extent = max(case.episode.length, 1)
    near = sorted(every, key=lambda p: _gap(case, p) > extent / 3)
    if progress is None:
        return near[:count]
    falls = sorted(
        ((a, b) for a, b in every if progress[b] < progress[a]),
        key=lambda p: (round(float(progress[p[1]] - progress[p[0]]), 1), -_gap(case, p)),
    )[: (count + 1) // 2]
    return [*falls, *(pair for pair in near if pair not in falls)][:count]


def _gap(case: Case, pair: tuple[int, int]) -> int:
    return int(case.episode.steps[pair[1]] - case.episode.steps[pair[0]])


def _pairs(frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    for at, one in enumerate(frames):
        for other in frames[at + 1 :]:
            yield one, other


def _frames(truth: Truth, episode: RecordedEpisode, count: int) -> tuple[int, ...]:
    asked = range(1, len(episode.frames))
    if len(asked) <= count:
        return tuple(asked)
    spread = np.linspace(asked.start, asked.stop - 1, count).round().astype(int)
    chosen = {int(place) for place in spread}
    if truth.done_at is not None and truth.done_at > 1:
        # When it is called is known no better than the frames around success are asked.
        chosen |= {truth.done_at - 1, truth.done_at}
    return tuple(sorted(chosen))
