"""The same drawn questions to a head, asked with each readout in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrm_client import HeadInfo, LrmError, Readout, Reply
from lrm_server.evaluation.asking import Answer, Question, RewardModel
from lrm_server.evaluation.scoring import ask_bounded
from lrm_server.recordings.episode import RecordedEpisode


@dataclass(frozen=True, slots=True)
class Cost:
    """What a readout takes a question, over the batches that were asked in this way first.

    Whoever asks about the same frames next finds them encoded and most of the prompt computed.

    Attributes:
        questions: how many that were.
        seconds: from sending a batch to its last answer, by the batch's questions.
        prompt: tokens of the prompts of an answered question; None where nobody counts.
        computed: how many of those the engine had to compute.
        written: tokens that the model wrote for an answered question.
    """

    questions: int
    seconds: float
    prompt: float | None
    computed: float | None
    written: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One head's questions with their answers by readout, in the order of the questions."""

    head: str
    questions: tuple[Question, ...]
    answers: Mapping[Readout, tuple[Answer, ...]]
    costs: Mapping[Readout, Cost]


class TokenMeter:
    """Adds up the tokens of replies; give it to ``ServedModel`` as its observer."""

    def __init__(self) -> None:
        self._totals = np.zeros(4)

    def __call__(self, reply: Reply | LrmError) -> None:
        """Counts one reply, if it says its tokens."""
        if isinstance(reply, Reply) and reply.tokens is not None:
            tokens = reply.tokens
            self._totals += (1, tokens.prompt, tokens.prompt - tokens.cached, tokens.written)

    def take(self) -> NDArray[np.float64]:
        """Replies, prompt, computed and written tokens since it was last asked, float64 (4,)."""
        taken, self._totals = self._totals, np.zeros(4)
        return taken


def why_not_asked(info: HeadInfo) -> str:
    """Why single frames of an episode are no question to a head; empty when they are."""
    if info.window is not None:
        return "it looks at a window"
    missing = set(info.required_frames) - {"initial", "previous", "current"}
    return f"it needs a {' and a '.join(sorted(missing))}" if missing else ""


def sample_questions(
    info: HeadInfo, episodes: Sequence[RecordedEpisode], per_episode: int, seed: int
) -> list[Question]:
    """Questions to one head about drawn frames, in a drawn order.

    Args:
        info: the head. One that compares gets each drawn frame with a drawn earlier one; where
            the answer names one of the two, in both orders.
        episodes: each gives frames, without repetition.
        per_episode: how many frames of each; all of a shorter one.
        seed: equal seeds draw equal questions of the same head and episodes.
    """
    # Heads do not see the same frames, or the later head would find them encoded.
    random = np.random.default_rng([seed, *info.name.encode()])
    roles = {*info.required_frames, *info.optional_frames}
    compares = "previous" in info.required_frames
    drawn: list[list[Question]] = []
    for episode in episodes:
        frames = np.arange(int(compares), len(episode.frames))
        for at in random.permutation(frames)[:per_episode].tolist():
            pair = (int(random.integers(at)), at) if compares else (None, at)
            orders = [pair, pair[::-1]] if compares and info.labels else [pair]
            initial = 0 if "initial" in roles else None
            drawn.append(
                [
                    Question(info.name, episode, current, previous=previous, initial=initial)
                    for previous, current in orders
                    if current is not None
                ]
            )
    return [question for at in random.permutation(len(drawn)) for question in drawn[at]]


def warm_up(
    model: RewardModel, questions: Sequence[Question], readouts: Sequence[Readout], batch: int
) -> None:
    """Asks about each episode's initial frame in every way, so that no readout pays for it.

    Tasks are then tokenised, and the prompts up to the initial frame computed. What the answers
    are is nobody's business.

    Raises:
        LrmError: the model cannot be asked at all.
    """
    openings = {
        id(q.episode): replace(q, current=0, previous=None if q.previous is None else 0)
        for q in questions
    }
    asked = [replace(q, readout=readout) for readout in readouts for q in openings.values()]
    for start in range(0, len(asked), batch):
        ask_bounded(model, asked[start : start + batch])


def ask_in_every_way(
    model: RewardModel,
    questions: Sequence[Question],
    readouts: Sequence[Readout],
    *,
    batch: int,
    meter: TokenMeter,
    advanced: Callable[[int], None] = lambda _: None,
) -> Asked:
    """Asks the questions of one head with each readout.

    Batch by batch the readouts take turns at being first.

    Args:
        model: who is asked.
        questions: of one head, at least one.
        readouts: at least one.
        batch: most questions in one request; there are as many batches as readouts, or more,
            unless questions are fewer.
        meter: which the model tells of its replies.
        advanced: called with the number of questions that are done.

    Raises:
        LrmError: the model cannot be asked at all.
    """
    answers: dict[Readout, list[Answer]] = {readout: [] for readout in readouts}
    first: dict[Readout, list[_Batch]] = {readout: [] for readout in readouts}
    meter.take()
    size = min(batch, max(1, len(questions) // len(readouts)))
    for number, start in enumerate(range(0, len(questions), size)):
        shown = questions[start : start + size]
        turn = number % len(readouts)
        for readout in [*readouts[turn:], *readouts[:turn]]:
            began = time.perf_counter()
            answers[readout] += ask_bounded(model, [replace(q, readout=readout) for q in shown])
            seconds, tokens = time.perf_counter() - began, meter.take()
            if readout is readouts[turn]:
                first[readout].append(_Batch(len(shown), seconds, tokens))
            advanced(len(shown))
    return Asked(
        questions[0].head,
        tuple(questions),
        {readout: tuple(given) for readout, given in answers.items()},
        {readout: _cost(batches) for readout, batches in first.items() if batches},
    )


class _Batch(NamedTuple):
    """A batch that was asked in one way first; tokens as ``TokenMeter.take`` gives them."""

    questions: int
    seconds: float
    tokens: NDArray[np.float64]


def _cost(batches: Sequence[_Batch]) -> Cost:
    questions = sum(batch.questions for batch in batches)
    seconds = sum(batch.seconds for batch in batches) / questions
    replies, *tokens = np.sum([batch.tokens for batch in batches], axis=0).tolist()
    prompt, computed, written = (total / replies if replies else None for total in tokens)
    return Cost(questions, seconds, prompt, computed, written)
