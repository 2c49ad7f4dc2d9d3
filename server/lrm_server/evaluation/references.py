"""Models that look at no frame: what a figure is without looking, and with right answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from lrm_server.evaluation.asking import Answer, Question, RewardModel
from lrm_server.evaluation.judged import EpisodeSet, JudgedEpisode, JudgedModel
from lrm_server.evaluation.metrics.lrm.progress import EPSILON
from lrm_server.evaluation.plan import plan_questions
from lrm_server.recordings.episode import RecordedEpisode

_STAGES: Final = tuple(round(stage / 10, 1) for stage in range(11))


class ByTime:
    """Goes by the step's number alone, knowing how long the task takes.

    Progress is the share of the task's typical time that has passed, the later of two frames is
    the better one, and done is what has had that time. The typical time is the mean step of the
    first success in the episode's group, of all groups where the group has none, and the mean
    length of the episodes where nothing succeeds.

    Args:
        episodes: that the typical times are learned from, which are those that are judged.
    """

    name = "time alone"

    def __init__(self, episodes: Sequence[RecordedEpisode]) -> None:
        self._times: dict[str, list[int]] = {}
        for episode in episodes:
            if episode.success and episode.done is not None and episode.done.any():
                first = int(episode.steps[int(np.argmax(episode.done))])
                self._times.setdefault(episode.group, []).append(first)
        everywhere = [time for times in self._times.values() for time in times]
        self._typical = float(np.mean(everywhere or [episode.length for episode in episodes]))

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """See ``RewardModel``."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        episode = question.episode
        if question.previous is not None:
            return Answer(1.0 if question.current > question.previous else -1.0)
        typical = float(np.mean(self._times.get(episode.group, [self._typical])))
        passed = min(float(episode.steps[question.current]) / max(typical, 1.0), 1.0)
        value = round(passed, 1) if question.head == "progress" else float(passed >= 1.0)
        return Answer(value, passed)


class AtRandom:
    """Draws one of the head's labels for each question; the same question draws the same."""

    name = "at random"

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """See ``RewardModel``."""
        return [Answer(self._draw(question)) for question in questions]

    def _draw(self, question: Question) -> float:
        about = (question.head, question.episode.id, question.previous, question.current)
        seed = hashlib.sha256(repr(about).encode()).digest()
        random = np.random.default_rng(int.from_bytes(seed[:8], "little"))
        values = {"progress": _STAGES, "contrastive": (-1.0, 1.0)}.get(question.head, (0.0, 1.0))
        return float(random.choice(values))


class Oracle:
    """Answers every question rightly, from the labels: what a figure is with right answers.

    Progress is the nearest stage by label and the truth itself as expected value; of two frames
    the one with more true progress is the better one, and equal ones are undecided. Where the
    label is missing it gives no answer.
    """

    name = "oracle"

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """See ``RewardModel``."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        episode, at = question.episode, question.current
        if question.head == "completion" and episode.done is not None:
            done = float(episode.done[at])
            return Answer(done, done, probabilities={"no": 1 - done, "yes": done})
        if question.head == "completion" or episode.progress is None:
            return Answer(error=f"unlabelled: episode {episode.id} has no {question.head} labels")
        truth = float(episode.progress[at])
        if question.previous is not None:
            return Answer(float(np.sign(truth - episode.progress[question.previous])))
        return Answer(float(np.floor(truth * 10 + 0.5 + EPSILON) / 10), truth)


def judged_by(
    model: RewardModel, data_sets: Sequence[EpisodeSet], heads: Sequence[str]
) -> JudgedModel:
    """A model's answers where they need neither a server nor a store.

    Raises:
        LrmError: the model cannot be asked.
    """
    return JudgedModel(
        model.name,
        None,
        None,
        tuple(
            _judged(model, data_set.name, episode, heads)
            for data_set in data_sets
            for episode in data_set.episodes
        ),
    )


def _judged(
    model: RewardModel, data_set: str, episode: RecordedEpisode, heads: Sequence[str]
) -> JudgedEpisode:
    questions = [each for head in heads for each in plan_questions(episode, head)]
    asked = list(zip(questions, model.ask(questions), strict=True))
    return JudgedEpisode(
        data_set,
        episode,
        contrastive={(q.previous, q.current): a for q, a in asked if q.previous is not None},
        progress={q.current: a for q, a in asked if q.head == "progress"},
        completion={q.current: a for q, a in asked if q.head == "completion"},
    )
