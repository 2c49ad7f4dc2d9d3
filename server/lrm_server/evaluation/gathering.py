"""Puts answers beside the truth, an entry an episode, for those episodes that have both."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from lrm_server.evaluation.asking import Answer
from lrm_server.evaluation.judged import JudgedEpisode, JudgedModel

KeyT = TypeVar("KeyT", bound=Hashable)

Floats = NDArray[np.float64]

Reading = Callable[[Answer], float | None]
"""Which number of an answer counts; None for a failure."""


class MissingError(Exception):
    """What a metric needs is not there; says what."""


def by_label(answer: Answer) -> float | None:
    """The most probable label's value, the published form."""
    return answer.value


def by_expectation(answer: Answer) -> float | None:
    """The probability-weighted value, or the label's where there are no probabilities."""
    return answer.score


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Two columns, an entry an episode, and the episodes that they are of.

    Attributes:
        episodes: those that have what is needed.
        said: float64 (n,) each: what the model said.
        true: float64 (n,) each: what is so.
        note: how many episodes are left out, and why; empty when none is.
    """

    episodes: tuple[JudgedEpisode, ...]
    said: tuple[Floats, ...]
    true: tuple[Floats, ...]
    note: str = ""

    def of_group(self, group: str) -> Evidence:
        """The episodes of one subset.

        Raises:
            MissingError: it has none.
        """
        mine = [at for at, each in enumerate(self.episodes) if each.episode.group == group]
        if not mine:
            raise MissingError(f"no episode of {group} has what this needs")
        return Evidence(
            tuple(self.episodes[at] for at in mine),
            tuple(self.said[at] for at in mine),
            tuple(self.true[at] for at in mine),
        )


Row = tuple[Sequence[float], Sequence[float]]


def gather(
    model: JudgedModel,
    head: str,
    labels: Sequence[str],
    row: Callable[[JudgedEpisode], Row | None],
) -> Evidence:
    """The rows of the episodes that have the labels; ``row`` gives None to leave one out.

    Raises:
        MissingError: no episode has the labels, or nothing was answered.
    """
    if not any(asked == head for judged in model.episodes for asked, *_ in judged.answers()):
        raise MissingError(_why_unasked(model, head))
    labelled = [judged for judged in model.episodes if _has(judged, labels)]
    if not labelled:
        wanted = " and ".join(_WORDS[label] for label in labels)
        raise MissingError(f"no episode has {wanted}")
    found = [(judged, given) for judged in labelled if (given := row(judged)) is not None]
    if not any(len(said) for _, (said, _) in found):
        raise MissingError("no episode has an answer that this needs")
    unlabelled = len(model.episodes) - len(labelled)
    return Evidence(
        tuple(judged for judged, _ in found),
        tuple(np.asarray(said, dtype=np.float64) for _, (said, _) in found),
        tuple(np.asarray(true, dtype=np.float64) for _, (_, true) in found),
        f"{unlabelled} of {len(model.episodes)} episodes lack the labels" if unlabelled else "",
    )


_WORDS: Final = {
    "progress": "progress labels",
    "done": "success labels at its frames",
    "success": "a success label",
}


def _has(judged: JudgedEpisode, labels: Iterable[str]) -> bool:
    return all(getattr(judged.episode, label) is not None for label in labels)


def _why_unasked(model: JudgedModel, head: str) -> str:
    if model.identity is not None and head not in model.identity.heads:
        return f"the model serves no {head} head"
    if head == "contrastive" and all(len(j.episode.frames) < 2 for j in model.episodes):
        return "no episode has two frames to compare"
    return f"{head} was not asked"


def numbers(
    answers: Mapping[KeyT, Answer], keys: Iterable[KeyT], read: Reading
) -> dict[KeyT, float]:
    """The numbers of those that were asked and answered, in the order of the keys."""
    found = {key: read(answers[key]) for key in keys if key in answers}
    return {key: value for key, value in found.items() if value is not None}
