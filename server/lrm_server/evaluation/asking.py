"""Questions about recorded episodes, and whoever answers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from lrm_client import LrmError, Query, Readout, Reply, RewardClient
from lrm_server.recordings.episode import Frame, RecordedEpisode, RecordingError
from lrm_server.recordings.pixels import as_pixels

UNREADABLE: Final = "unreadable"
"""Code of the failure of a question whose frames cannot be read."""
MODEL_CODES: Final = frozenset({"label_mass_low", "answer_unparsable", "answer_not_reached"})
"""Codes of failures that are the model's: it was asked, and did not answer the question."""

Edit = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""A change to a frame, uint8 (H, W, 3) RGB to the same; applied to every frame of a question."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One question about an episode; frames are named by their place in ``episode.frames``.

    Attributes:
        head: contrastive, progress, completion or another that is served.
        episode: whose frames are shown.
        current: the frame that is judged.
        previous: the frame to compare with, for contrastive.
        initial: the first frame, where the head looks at it.
        goal: a frame of the goal, where the head looks at it.
        task: asked instead of the episode's own task when given.
        edit: a change to every frame, or None.
        readout: None for the checkpoint's default.
        swap: contrastive: both orders asked, their log-odds averaged.
    """

    head: str
    episode: RecordedEpisode
    current: int
    previous: int | None = None
    initial: int | None = None
    goal: int | None = None
    task: str | None = None
    edit: Edit | None = None
    readout: Readout | None = None
    swap: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, or why it said nothing; exactly one of value and error is there.

    Attributes:
        value: the head's value: -1 to 1 for contrastive, 0 to 1 for progress and completion.
        expected: the probability-weighted value; None where the readout gives no probabilities.
        label: the most probable label.
        probabilities: label to probability; empty where the readout gives none.
        label_mass: share of the model's probability that fell on the labels.
        error: code and message of the failure, or empty.
    """

    value: float | None = None
    expected: float | None = None
    label: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    label_mass: float | None = None
    error: str = ""

    @property
    def score(self) -> float | None:
        """The finest value there is: expected, else value; None for a failure."""
        return self.value if self.expected is None else self.expected


class RewardModel(Protocol):
    """Whoever answers questions: a server, or a model made up for a test of the judges."""

    @property
    def name(self) -> str:
        """For tables and file names."""
        ...

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers in the order of the questions; a question that fails has its error inside.

        Raises:
            LrmError: nothing can be asked at all: no server, no right to ask, no such head.
        """
        ...


class ServedModel:
    """The model behind a client.

    Args:
        client: of a server that is ready.
        name: for tables.
        observe: told each reply, or why there is none.
    """

    def __init__(
        self,
        client: RewardClient,
        name: str,
        observe: Callable[[Reply | LrmError], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._name = name
        self._observe = observe

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Asks all questions in one batch; see ``RewardModel``."""
        frames = _Frames()
        prepared = [_prepared(question, frames) for question in questions]
        queries = [each for each in prepared if isinstance(each, Query)]
        replied = self._client.score_batch(queries) if queries else []
        for reply in replied:
            self._observe(reply)
        replies = iter(replied)
        return [_answer(next(replies)) if isinstance(p, Query) else p for p in prepared]


class _Frames:
    """Frames of one batch, each read and edited once, so that each travels once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], Frame] = {}

    def get(self, question: Question, index: int | None) -> Frame | None:
        if index is None:
            return None
        key = (id(question.episode), index, id(question.edit))
        if key not in self._known:
            frame = question.episode.frames[index]
            self._known[key] = frame if question.edit is None else question.edit(as_pixels(frame))
        return self._known[key]


def _prepared(question: Question, frames: _Frames) -> Query | Answer:
    """The query, or the failure where a frame cannot be read."""
    try:
        return _query(question, frames)
    except RecordingError as error:
        return Answer(error=f"{UNREADABLE}: {error}")


def _query(question: Question, frames: _Frames) -> Query:
    return Query(
        question.head,
        question.episode.task if question.task is None else question.task,
        current=frames.get(question, question.current),
        previous=frames.get(question, question.previous),
        initial=frames.get(question, question.initial),
        goal=frames.get(question, question.goal),
        readout=question.readout,
        swap=question.swap,
    )


def _answer(reply: Reply | LrmError) -> Answer:
    if isinstance(reply, LrmError):
        return Answer(error=f"{reply.code}: {reply.message}")
    return Answer(
        value=reply.value,
        expected=reply.expected,
        label=reply.label,
        probabilities=dict(reply.probabilities),
        label_mass=reply.label_mass,
    )
