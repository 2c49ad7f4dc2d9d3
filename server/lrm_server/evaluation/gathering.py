"""Puts answers beside the truth, an entry an episode, for those episodes that have both."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

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


def by_probability(answer: Answer) -> float | None:
    """The probability-weighted value alone; None where there are no probabilities."""
    return answer.score if answer.probabilities else None


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Two columns, an entry an episode, and the episodes that they are of.

    Attributes:
        episodes: those that have what is needed.
        said: float64 (n,) each: what the model said.
        true: float64 (n,) each: what is so.
        whole: those of the episodes whose every question has its answer.
        note: how many episodes or answers are left out, and why; empty when none is.
    """

    episodes: tuple[JudgedEpisode, ...]
    said: tuple[Floats, ...]
    true: tuple[Floats, ...]
    whole: tuple[JudgedEpisode, ...] = ()
    note: str = ""


class Row(NamedTuple):
    """What an episode adds.

    Attributes:
        said: what the model said,
        true: and what is so, entry by entry.
        lost: how many more entries there would be if every question had its answer.
    """

    said: Sequence[float]
    true: Sequence[float]
    lost: int = 0


def gather(
    model: JudgedModel,
    head: str,
    labels: Sequence[str],
    row: Callable[[JudgedEpisode], Row | None],
    *,
    of: Callable[[JudgedEpisode], bool] = lambda _: True,
) -> Evidence:
    """The rows of the episodes that have the labels; the note counts what is left out.

    Args:
        model: whose answers.
        head: that gave them.
        labels: that an episode must have.
        row: of an episode; None where an answer is missing without which it has none.
        of: which of the episodes that have the labels are meant at all.

    Raises:
        MissingError: no episode has the labels, none is meant, or nothing was answered.
    """
    if not any(asked == head for judged in model.episodes for asked, *_ in judged.answers()):
        raise MissingError(_why_unasked(model, head))
    labelled = [judged for judged in model.episodes if _has(judged, labels)]
    if not labelled:
        wanted = " and ".join(_WORDS[label] for label in labels)
        raise MissingError(f"no episode has {wanted}")
    meant = [judged for judged in labelled if of(judged)]
    found = [(judged, given) for judged in meant if (given := row(judged)) is not None]
    if not any(len(given.said) for _, given in found):
        raise MissingError("no episode has an answer that this needs")
    notes = [
        _share(len(model.episodes) - len(labelled), len(model.episodes), "lack the labels"),
        _share(len(meant) - len(found), len(meant), "left out: an answer is missing"),
        _share(
            sum(given.lost > 0 for _, given in found),
            len(meant),
            f"lack answers, {sum(given.lost for _, given in found)} in all",
        ),
    ]
    return Evidence(
        tuple(judged for judged, _ in found),
        tuple(np.asarray(given.said, dtype=np.float64) for _, given in found),
        tuple(np.asarray(given.true, dtype=np.float64) for _, given in found),
        tuple(judged for judged, given in found if not given.lost),
        "; ".join(note for note in notes if note),
    )


def _share(some: int, all_: int, which: str) -> str:
    return f"{some} of {all_} episodes {which}" if some else ""


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
