"""Asks a model about data sets: in bounded batches, past what is known, failures counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from lrm_client import DeadlineExceeded, InvalidRequest, Overloaded, Readout
from lrm_server.evaluation.answers import AnswerStore, StoredAnswer, question_key
from lrm_server.evaluation.asking import Answer, Question, RewardModel
from lrm_server.evaluation.digests import digest_of
from lrm_server.evaluation.identity import ModelIdentity
from lrm_server.evaluation.judged import EpisodeSet, JudgedEpisode, JudgedModel
from lrm_server.evaluation.plan import plan_questions
from lrm_server.recordings.episode import RecordedEpisode

_OVERLOAD_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked.

    Attributes:
        heads: of ``plan.HEADS``.
        readouts: each is a column of the tables; None is the checkpoint's default.
        batch: most questions in one request.
    """

    heads: Sequence[str]
    readouts: Sequence[Readout | None] = (None,)
    batch: int = 128

    def count(self, data_sets: Sequence[EpisodeSet], identity: ModelIdentity) -> int:
        """How many questions there are for a model."""
        return sum(
            len(questions)
            for data_set in data_sets
            for episode in data_set.episodes
            for questions in self.plan(episode, identity).values()
        )

    def plan(
        self, episode: RecordedEpisode, identity: ModelIdentity
    ) -> dict[tuple[str, Readout | None], list[Question]]:
        """Questions about an episode by head and readout; none for a head that is not served."""
        return {
            (head, readout): plan_questions(
                episode,
                head,
                readout=readout,
                roles=identity.heads[head].roles,
            )
            for head in self.heads
            if head in identity.heads
            for readout in self.readouts
        }


class _Pending(NamedTuple):
    """A question that is to be asked, and what its answer is kept with."""

    question: Question
    key: str
    readout: str
    data_set: str
    digest: str


class _Planned(NamedTuple):
    """A question without its frames: its answer's key, and what it is about."""

    key: str
    head: str
    column: Readout | None
    previous: int | None
    current: int


class Scoring:
    """One model's answers about data sets, from disk where they are known.

    Frames are in memory one at a time for an episode's digest, and batch by batch to be asked.

    Args:
        model: who is asked.
        identity: what decides on its answers.
        store: where they are kept.
        asking: what is asked.
        advanced: called with the number of questions that are done with, known ones too.
    """

    def __init__(
        self,
        model: RewardModel,
        identity: ModelIdentity,
        store: AnswerStore,
        asking: Asking,
        advanced: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._identity = identity
        self._store = store
        self._asking = asking
        self._advanced = advanced
        self._batch = min(asking.batch, identity.max_batch or asking.batch)
        self._answers: dict[str, Answer] = {}

    def run(self, data_sets: Sequence[EpisodeSet]) -> list[JudgedModel]:
        """Asks what is not known, and returns all answers, a column for each readout.

        However it ends, what was answered is on disk.

        Raises:
            LrmError: the model cannot be asked at all.
            StoreError: the answers of an earlier run cannot be read.
        """
        self._answers = self._store.load()
        about: list[tuple[str, RecordedEpisode, str, list[_Planned]]] = []
        waiting: list[_Pending] = []
        with self._store:
            for data_set in data_sets:
                for episode in data_set.episodes:
                    digest = digest_of(episode)
                    planned, pending = self._plan(data_set.name, episode, digest)
                    about.append((data_set.name, episode, digest, planned))
                    waiting += pending
                    while len(waiting) >= self._batch:
                        self._ask(waiting[: self._batch])
                        del waiting[: self._batch]
            if waiting:
                self._ask(waiting)
        return [
            JudgedModel(
                self._model.name,
                self._identity,
                readout,
                tuple(self._judged(*each, readout) for each in about),
            )
            for readout in self._asking.readouts
        ]

    def _plan(
        self, data_set: str, episode: RecordedEpisode, digest: str
    ) -> tuple[list[_Planned], list[_Pending]]:
        planned: list[_Planned] = []
        pending: list[_Pending] = []
        for (head, column), questions in self._asking.plan(episode, self._identity).items():
            readout = column or self._identity.heads[head].readout
            name = readout.value if readout else ""
            for asked in questions:
                key = question_key(asked, self._identity, name, digest)
                planned.append(_Planned(key, head, column, asked.previous, asked.current))
                if key not in self._answers:
                    pending.append(_Pending(asked, key, name, data_set, digest))
        self._advanced(len(planned) - len(pending))
        # What shows the same frames is asked together: a batch reads few, and goes forward.
        pending.sort(key=lambda each: max(each.question.current, each.question.previous or 0))
        return planned, pending

    def _ask(self, batch: Sequence[_Pending]) -> None:
        # The default and the same readout by name are one question.
        different = list({each.key: each for each in batch}.values())
        answers = ask_bounded(self._model, [each.question for each in different])
        for each, answer in zip(different, answers, strict=True):
            self._answers[each.key] = answer
            self._store.add(
                StoredAnswer(
                    each.question, self._identity, each.readout, each.data_set, each.digest, answer
                )
            )
        self._advanced(len(batch))

    def _judged(
        self,
        data_set: str,
        episode: RecordedEpisode,
        digest: str,
        planned: Sequence[_Planned],
        readout: Readout | None,
    ) -> JudgedEpisode:
        mine = [each for each in planned if each.column == readout]
        progress, completion = (
            {each.current: self._answers[each.key] for each in mine if each.head == head}
            for head in ("progress", "completion")
        )
        contrastive = {
            (each.previous, each.current): self._answers[each.key]
            for each in mine
            if each.previous is not None
        }
        return JudgedEpisode(data_set, episode, digest, contrastive, progress, completion)


def ask_bounded(model: RewardModel, questions: Sequence[Question]) -> list[Answer]:
    """Asks a batch, and in halves where it is too much for one request.

    A single question that the server refuses as a whole fails by itself.

    Raises:
        LrmError: nobody answers, the token is wrong, there is no such head.
    """
    try:
        return model.ask(questions)
    except (DeadlineExceeded, InvalidRequest, Overloaded) as error:
        if len(questions) == 1:
            return [Answer(error=f"{error.code}: {error.message}")]
        if isinstance(error, Overloaded):
            time.sleep(error.retry_after_seconds or _OVERLOAD_SECONDS)
    half = len(questions) // 2
    return [*ask_bounded(model, questions[:half]), *ask_bounded(model, questions[half:])]
