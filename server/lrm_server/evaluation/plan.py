"""Which questions are asked about a recorded episode."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from lrm_client import Readout
from lrm_server.evaluation.asking import Question
from lrm_server.recordings.episode import RecordedEpisode

HEADS: Final = ("contrastive", "progress", "completion")
"""The heads that are judged: LRM's three rewards."""

NEAR_SPAN: Final = (0.06, 0.16)
"""Frames are near when a tenth of the episode lies between them, give or take."""
NEAR_DIFFERENCE: Final = 0.05
"""Least difference of true progress that makes one of two near frames the better one."""

MOST_NEAR: Final = 40
"""Near pairs of an episode: with more of them, as many are drawn, evenly over the episode."""

Pair = tuple[int, int]
"""Two frames by their places in ``episode.frames``: (previous, current)."""


def consecutive_pairs(episode: RecordedEpisode) -> list[Pair]:
    """Each frame with the one before it, in the order of time."""
    return list(pairwise(range(len(episode.frames))))


def near_pairs(episode: RecordedEpisode) -> list[Pair]:
    """Pairs of frames (earlier, later) that are near and whose true progress differs.

    The episode's extent, of which ``NEAR_SPAN`` is a share, runs up to the first success for a
    success and to the last frame otherwise. Of more than ``MOST_NEAR`` one is drawn from each of
    as many equal stretches, in the order of the earlier frame; the episode's id is the seed.
    Without progress labels there are no such pairs.
    """
    if episode.progress is None:
        return []
    progress, steps = episode.progress, episode.steps
    end = steps[-1]
    if episode.success and episode.done is not None and episode.done.any():
        end = steps[int(np.argmax(episode.done))]
    extent = max(int(end), 1)
    found: list[Pair] = []
    for one in range(len(steps)):
        span = (steps[one + 1 :] - steps[one]) / extent
        first = one + 1 + int(np.searchsorted(span, NEAR_SPAN[0], "left"))
        last = one + 1 + int(np.searchsorted(span, NEAR_SPAN[1], "right"))
        others = np.arange(first, last)
        differs = np.abs(progress[others] - progress[one]) >= NEAR_DIFFERENCE
        found += [(one, int(other)) for other in others[differs]]
    return found if len(found) <= MOST_NEAR else _spread(found, episode.id)


def _spread(pairs: Sequence[Pair], seed: str) -> list[Pair]:
    """One pair of each of ``MOST_NEAR`` stretches of equal length."""
    digest = hashlib.sha256(seed.encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    edges = np.linspace(0, len(pairs), MOST_NEAR + 1).round().astype(int)
    return [pairs[random.integers(low, high)] for low, high in pairwise(edges)]


def both_orders(pairs: Sequence[Pair]) -> list[Pair]:
    """Each pair, and the same turned round."""
    return [order for one, other in pairs for order in ((one, other), (other, one))]


def plan_questions(
    episode: RecordedEpisode,
    head: str,
    *,
    readout: Readout | None = None,
    roles: Collection[str] = ("initial", "previous", "current"),
) -> list[Question]:
    """What one head is asked about one episode; a single frame leaves nothing to compare.

    Args:
        episode: whose frames are shown.
        head: progress and completion are asked at each frame; contrastive about each with the
            one before it and about near pairs in both orders.
        readout: None for the checkpoint's default.
        roles: what the head looks at; the initial frame is shown to progress where it does.

    Raises:
        ValueError: a head that is not among ``HEADS``.
    """
    frames = range(len(episode.frames))
    if head == "contrastive":
        pairs = [*consecutive_pairs(episode), *both_orders(near_pairs(episode))]
        return [
            Question(head, episode, current, previous=previous, readout=readout)
            for previous, current in dict.fromkeys(pairs)
        ]
    if head == "progress":
        initial = 0 if "initial" in roles else None
        return [Question(head, episode, at, initial=initial, readout=readout) for at in frames]
    if head == "completion":
        return [Question(head, episode, at, readout=readout) for at in frames]
    raise ValueError(f"{head!r} is not judged; {', '.join(HEADS)} are")
