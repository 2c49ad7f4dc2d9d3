"""Which episodes a model takes for finished, judged by their last frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from lrm_client import Readout
from lrm_server.evaluation.asking import Answer, Question, RewardModel
from lrm_server.evaluation.identity import HeadIdentity
from lrm_server.evaluation.plan import plan_questions
from lrm_server.evaluation.scoring import ask_bounded
from lrm_server.recordings.episode import RecordedEpisode

THRESHOLDS: Final[Mapping[str, float]] = {"completion": 0.5, "progress": 0.9}
"""The heads that say how finished a frame looks, and the score from which it counts as finished."""


class Agree(str, Enum):
    """How many of the heads must take an episode for finished."""

    ALL = "all"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Criterion:
    """When an episode is kept.

    Attributes:
        thresholds: head -> least mean score, in [0, 1]; its heads are the ones that are asked.
        last: how many frames at the end are scored; all where an episode has fewer.
        agree: whether one head is enough.
        readout: how answers are read; None for the checkpoint's default.

    Raises:
        ValueError: no head, a head that does not judge single frames, or a number out of range.
    """

    thresholds: Mapping[str, float]
    last: int = 3
    agree: Agree = Agree.ALL
    readout: Readout | None = None

    def __post_init__(self) -> None:
        unknown = [head for head in self.thresholds if head not in THRESHOLDS]
        if unknown or not self.thresholds:
            raise ValueError(
                f"heads: {', '.join(unknown) or 'none'} cannot say that an episode is finished; "
                f"choose from {', '.join(THRESHOLDS)}"
            )
        for head, threshold in self.thresholds.items():
            if not 0 <= threshold <= 1:
                raise ValueError(f"threshold of {head} must lie in [0, 1], not {threshold}")
        if self.last < 1:
            raise ValueError(f"last must be at least 1, not {self.last}")


@dataclass(frozen=True, slots=True)
class HeadVerdict:
    """What one head says about an episode's end.

    Attributes:
        head: its name.
        frames: places of the scored frames in the episode.
        scores: of each of them, None where it failed; the expected value where there is one.
        score: their mean; None where one failed, for a mean over the others is another question.
        complete: whether the mean reaches the threshold; None where there is none.
        error: the failed frames, each with its cause; empty where none failed.
    """

    head: str
    frames: tuple[int, ...]
    scores: tuple[float | None, ...]
    score: float | None
    complete: bool | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an episode is kept.

    Attributes:
        episode: which one.
        verdicts: of each head that was asked.
        kept: whether its end is judged finished; False where that could not be judged.
        error: why it could not be judged; empty where it was.
    """

    episode: RecordedEpisode
    verdicts: tuple[HeadVerdict, ...]
    kept: bool
    error: str = ""

    def scores(self) -> dict[str, list[float | None]]:
        """Head -> one score for each frame of the episode, None where it was not asked."""
        columns: dict[str, list[float | None]] = {}
        for verdict in self.verdicts:
            column: list[float | None] = [None] * len(self.episode.frames)
            for frame, score in zip(verdict.frames, verdict.scores, strict=True):
                column[frame] = score
            columns[verdict.head] = column
        return columns


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the decisions meet the labels, over the episodes that were judged and have one.

    Attributes:
        true_kept: successful and kept.
        false_kept: failed and kept.
        true_dropped: failed and dropped.
        false_dropped: successful and dropped.
        unjudged: episodes that could not be judged, labelled or not; counted nowhere else.
        unlabelled: judged episodes without a label.
    """

    true_kept: int = 0
    false_kept: int = 0
    true_dropped: int = 0
    false_dropped: int = 0
    unjudged: int = 0
    unlabelled: int = 0

    @property
    def precision(self) -> float | None:
        """Share of the kept episodes that are successful; None where none was kept."""
        return _share(self.true_kept, self.true_kept + self.false_kept)

    @property
    def recall(self) -> float | None:
        """Share of the successful episodes that are kept; None where none is successful."""
        return _share(self.true_kept, self.true_kept + self.false_dropped)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where none is kept and none successful."""
        return _share(2 * self.true_kept, 2 * self.true_kept + self.false_kept + self.false_dropped)


def end_questions(
    episode: RecordedEpisode, criterion: Criterion, heads: Mapping[str, HeadIdentity]
) -> list[Question]:
    """What is asked about an episode's last frames, a head at a time.

    Args:
        episode: which one.
        criterion: which heads, and how many frames.
        heads: as they are served.
    """
    return [
        question
        for head in criterion.thresholds
        for question in plan_questions(
            episode, head, readout=criterion.readout, roles=heads[head].roles
        )[-criterion.last :]
    ]


def decide(
    episode: RecordedEpisode,
    answered: Iterable[tuple[Question, Answer]],
    criterion: Criterion,
) -> Decision:
    """Keeps an episode or not; one with a failed answer is not kept, and is no failure either."""
    by_head: dict[str, list[tuple[int, Answer]]] = {head: [] for head in criterion.thresholds}
    for question, answer in answered:
        by_head[question.head].append((question.current, answer))
    verdicts = tuple(
        _verdict(episode, head, answers, criterion.thresholds[head])
        for head, answers in by_head.items()
    )
    errors = [verdict.error for verdict in verdicts if verdict.error]
    if errors:
        return Decision(episode, verdicts, kept=False, error="; ".join(errors))
    judge = all if criterion.agree is Agree.ALL else any
    return Decision(episode, verdicts, kept=judge(bool(verdict.complete) for verdict in verdicts))


def judge_ends(
    model: RewardModel,
    heads: Mapping[str, HeadIdentity],
    episodes: Sequence[RecordedEpisode],
    criterion: Criterion,
    *,
    batch: int = 128,
    advanced: Callable[[], None] = lambda: None,
) -> list[Decision]:
    """Decides on episodes, in their order; questions of several travel together.

    Args:
        model: who is asked.
        heads: as they are served.
        episodes: at least one frame each.
        criterion: when one is kept.
        batch: most questions in one request.
        advanced: called for each episode that is decided.

    Raises:
        LrmError: the model cannot be asked at all.
        ValueError: a head that is not served.
    """
    missing = [head for head in criterion.thresholds if head not in heads]
    if missing:
        raise ValueError(
            f"{model.name} does not serve {', '.join(missing)}, but {', '.join(heads) or 'nothing'}"
        )
    decisions: list[Decision] = []
    waiting: list[tuple[RecordedEpisode, list[Question]]] = []
    for place, episode in enumerate(episodes):
        waiting.append((episode, end_questions(episode, criterion, heads)))
        questions = [question for _, mine in waiting for question in mine]
        if len(questions) >= batch or place == len(episodes) - 1:
            answers = iter(_ask(model, questions, batch))
            for one, mine in waiting:
                pairs = [(question, next(answers)) for question in mine]
                decisions.append(decide(one, pairs, criterion))
                advanced()
            waiting = []
    return decisions


def agreement(decisions: Iterable[Decision]) -> Agreement:
    """Counts decisions against the labels."""
    counts = dict.fromkeys(Agreement.__dataclass_fields__, 0)
    for decision in decisions:
        success = decision.episode.success
        if decision.error:
            counts["unjudged"] += 1
        elif success is None:
            counts["unlabelled"] += 1
        else:
            right = success == decision.kept
            name = f"{'true' if right else 'false'}_{'kept' if decision.kept else 'dropped'}"
            counts[name] += 1
    return Agreement(**counts)


def _ask(model: RewardModel, questions: Sequence[Question], batch: int) -> list[Answer]:
    return [
        answer
        for begin in range(0, len(questions), batch)
        for answer in ask_bounded(model, questions[begin : begin + batch])
    ]


def _verdict(
    episode: RecordedEpisode, head: str, answers: Sequence[tuple[int, Answer]], threshold: float
) -> HeadVerdict:
    frames = tuple(frame for frame, _ in answers)
    scores = tuple(answer.score for _, answer in answers)
    failed = [
        f"{head} at step {episode.steps[frame]}: {answer.error or 'no value'}"
        for frame, answer in answers
        if answer.score is None
    ]
    known = [score for score in scores if score is not None]
    if failed or not known:
        cause = "; ".join(failed) or f"{head} was asked nothing"
        return HeadVerdict(head, frames, scores, None, None, cause)
    mean = sum(known) / len(known)
    return HeadVerdict(head, frames, scores, mean, mean >= threshold)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
