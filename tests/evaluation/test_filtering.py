"""Which episodes are kept, and how that meets the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from lrm_client import InvalidRequest
from lrm_server.evaluation.asking import Answer, Question
from lrm_server.evaluation.filtering import (
    Agree,
    Agreement,
    Criterion,
    Decision,
    agreement,
    decide,
    end_questions,
    judge_ends,
)
from lrm_server.evaluation.identity import HeadIdentity
from lrm_server.recordings.episode import RecordedEpisode

HEADS = {
    "completion": HeadIdentity(roles=frozenset({"current"})),
    "progress": HeadIdentity(roles=frozenset({"initial", "current"})),
}
BOTH = {"completion": 0.5, "progress": 0.9}


def episode(name: str = "one", frames: int = 5, success: bool | None = None) -> RecordedEpisode:
    pixels = [np.full((8, 8, 3), index, np.uint8) for index in range(frames)]
    steps = np.arange(frames, dtype=np.int64) * 10
    return RecordedEpisode(name, "lift", pixels, steps, int(steps[-1]), success=success)


class Model:
    """Answers as a function of the question says; remembers the batches."""

    name = "made up"

    def __init__(self, answer: Callable[[Question], Answer]) -> None:
        self.answer = answer
        self.batches: list[list[Question]] = []

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        self.batches.append(list(questions))
        return [self.answer(question) for question in questions]


def decided(criterion: Criterion, answer: Callable[[Question], Answer]) -> Decision:
    one = episode()
    questions = end_questions(one, criterion, HEADS)
    return decide(one, [(question, answer(question)) for question in questions], criterion)


def test_the_last_frames_are_asked_and_progress_sees_the_first():
    questions = end_questions(episode(), Criterion(BOTH, last=2), HEADS)
    assert [(q.head, q.current, q.initial) for q in questions] == [
        ("completion", 3, None),
        ("completion", 4, None),
        ("progress", 3, 0),
        ("progress", 4, 0),
    ]


def test_an_episode_with_fewer_frames_is_asked_about_all():
    questions = end_questions(episode(frames=2), Criterion({"completion": 0.5}, last=3), HEADS)
    assert [question.current for question in questions] == [0, 1]


@pytest.mark.parametrize(("last", "kept"), [(1, True), (2, True), (3, False)])
def test_the_mean_of_the_last_frames_decides(last: int, kept: bool):
    scores = {2: 0.0, 3: 0.4, 4: 0.8}
    criterion = Criterion({"completion": 0.6}, last=last)
    made = decided(criterion, lambda q: Answer(value=1.0, expected=scores[q.current]))
    assert made.kept is kept
    assert made.verdicts[0].score == pytest.approx({1: 0.8, 2: 0.6, 3: 0.4}[last])


def test_a_score_at_the_threshold_is_kept_and_without_expected_the_value_counts():
    assert decided(Criterion({"completion": 1.0}), lambda _: Answer(value=1.0)).kept
    assert not decided(Criterion({"completion": 0.5}), lambda _: Answer(value=0.49)).kept


@pytest.mark.parametrize(
    ("agree", "completion", "progress", "kept"),
    [
        (Agree.ALL, 0.9, 0.95, True),
        (Agree.ALL, 0.9, 0.8, False),
        (Agree.ANY, 0.9, 0.8, True),
        (Agree.ANY, 0.4, 0.8, False),
    ],
)
def test_heads_agree_as_asked(agree: Agree, completion: float, progress: float, kept: bool):
    scores = {"completion": completion, "progress": progress}
    made = decided(Criterion(BOTH, agree=agree), lambda q: Answer(value=scores[q.head]))
    assert made.kept is kept


@pytest.mark.parametrize("agree", Agree)
def test_a_failed_frame_is_neither_kept_nor_scored_zero(agree: Agree):
    def answer(question: Question) -> Answer:
        if question.head == "progress" and question.current == 3:
            return Answer(error="label_mass_low: not answering")
        return Answer(value=1.0)

    made = decided(Criterion(BOTH, agree=agree), answer)
    assert not made.kept
    assert made.error == "progress at step 30: label_mass_low: not answering"
    assert made.verdicts[1].score is None
    assert made.verdicts[1].complete is None
    assert made.scores()["progress"] == [None, None, 1.0, None, 1.0]


def test_scores_stand_at_their_frames():
    made = decided(Criterion({"completion": 0.5}, last=2), lambda q: Answer(value=q.current / 10))
    assert made.scores() == {"completion": [None, None, None, 0.3, 0.4]}


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_episodes_are_decided_in_order_in_batches_of_at_most_the_size(batch: int):
    model = Model(lambda q: Answer(value=float(q.episode.id == "b")))
    advanced: list[int] = []
    decisions = judge_ends(
        model,
        HEADS,
        [episode("a"), episode("b", frames=2), episode("c")],
        Criterion({"completion": 0.5}),
        batch=batch,
        advanced=lambda: advanced.append(1),
    )
    assert [(one.episode.id, one.kept) for one in decisions] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]
    assert sum(len(asked) for asked in model.batches) == 3 + 2 + 3
    assert max(len(asked) for asked in model.batches) <= batch
    assert len(advanced) == 3


def test_a_frame_that_the_server_refuses_fails_its_episode_alone():
    class Refusing(Model):
        def ask(self, questions: Sequence[Question]) -> list[Answer]:
            if any(question.episode.id == "bad" for question in questions):
                raise InvalidRequest("too large", code="frame_too_large")
            return super().ask(questions)

    decisions = judge_ends(
        Refusing(lambda _: Answer(value=1.0)),
        HEADS,
        [episode("good"), episode("bad"), episode("fine")],
        Criterion({"completion": 0.5}),
    )
    assert [one.kept for one in decisions] == [True, False, True]
    assert "frame_too_large" in decisions[1].error


def test_a_head_that_is_not_served_is_named():
    with pytest.raises(ValueError, match="does not serve progress, but completion"):
        judge_ends(
            Model(lambda _: Answer(value=1.0)),
            {"completion": HEADS["completion"]},
            [episode()],
            Criterion(BOTH),
        )


@pytest.mark.parametrize(
    ("thresholds", "last", "words"),
    [
        ({}, 3, "heads: none"),
        ({"contrastive": 0.5}, 3, "contrastive cannot say"),
        ({"completion": 1.5}, 3, "threshold of completion"),
        ({"completion": 0.5}, 0, "last must be"),
    ],
)
def test_a_criterion_that_cannot_be_meant_is_refused(
    thresholds: dict[str, float], last: int, words: str
):
    with pytest.raises(ValueError, match=words):
        Criterion(thresholds, last)


def test_precision_recall_and_f1_against_a_count_by_hand():
    def one(success: bool | None, kept: bool, error: str = "") -> Decision:
        return Decision(episode(success=success), (), kept, error)

    counts = agreement(
        [
            *[one(True, True)] * 3,
            one(False, True),
            *[one(True, False)] * 2,
            *[one(False, False)] * 4,
            one(None, True),
            one(True, False, "unreadable"),
        ]
    )
    assert counts == Agreement(3, 1, 4, 2, unjudged=1, unlabelled=1)
    assert counts.precision == 0.75
    assert counts.recall == 0.6
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))


def test_figures_that_cannot_be_computed_are_none():
    nothing_kept = Agreement(false_dropped=2, true_dropped=1)
    assert (nothing_kept.precision, nothing_kept.recall, nothing_kept.f1) == (None, 0.0, 0.0)
    no_success = Agreement(true_dropped=3)
    assert (no_success.precision, no_success.recall, no_success.f1) == (None, None, None)
