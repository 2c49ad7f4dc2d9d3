"""What each figure is of: which answers, and which truth beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lrm_server.evaluation.asking import Answer
from lrm_server.evaluation.gathering import (
    Evidence,
    MissingError,
    Reading,
    Row,
    by_probability,
    gather,
    numbers,
)
from lrm_server.evaluation.judged import JudgedEpisode, JudgedModel
from lrm_server.evaluation.plan import Pair, both_orders, consecutive_pairs, near_pairs

SHORTLY_BEFORE: Final = 0.85
"""An unfinished frame of a success counts as shortly before it from this true progress on."""


def progress_errors(model: JudgedModel, read: Reading) -> Evidence:
    """Said and true progress of the frames after the first, which is the initial one itself."""

    def row(judged: JudgedEpisode) -> Row:
        truth = judged.episode.progress
        assert truth is not None  # noqa: S101
        return _beside(truth, judged.progress, range(1, len(truth)), read)

    return gather(model, "progress", ("progress",), row)


def completion_calls(model: JudgedModel, read: Reading) -> Evidence:
    """Said and true completion of every frame."""

    def row(judged: JudgedEpisode) -> Row:
        done = judged.episode.done
        assert done is not None  # noqa: S101
        return _beside(done, judged.completion, range(len(done)), read)

    return gather(model, "completion", ("done",), row)


def completion_probabilities(model: JudgedModel) -> Evidence:
    """As ``completion_calls``, of the probability of done.

    Raises:
        MissingError: also where there are answers and none has probabilities.
    """
    answers = [a for judged in model.episodes for a in judged.completion.values() if not a.error]
    if answers and not any(answer.probabilities for answer in answers):
        raise MissingError("the answers have no probabilities")
    return completion_calls(model, by_probability)


def hard_completion_calls(model: JudgedModel, read: Reading) -> Evidence:
    """Completion of frames that are done, of the ends of failures, and shortly before success."""

    def row(judged: JudgedEpisode) -> Row:
        episode = judged.episode
        done, progress = episode.done, episode.progress
        assert done is not None  # noqa: S101
        assert progress is not None  # noqa: S101
        last = len(done) - 1
        hard = [
            at
            for at in range(len(done))
            if done[at]
            or (not episode.success and at == last)
            or (episode.success and progress[at] >= SHORTLY_BEFORE)
        ]
        return _beside(done, judged.completion, hard, read)

    return gather(model, "completion", ("done", "progress", "success"), row)


def near_comparisons(model: JudgedModel, read: Reading) -> Evidence:
    """Contrastive answers on near pairs in both orders, and the true change of progress."""
    return _comparisons(model, read, lambda judged: both_orders(near_pairs(judged.episode)))


def consecutive_comparisons(model: JudgedModel, read: Reading) -> Evidence:
    """Contrastive answers on consecutive frames, and the true change of progress."""
    return _comparisons(model, read, lambda judged: consecutive_pairs(judged.episode))


def running_sums(model: JudgedModel, read: Reading) -> Evidence:
    """The running sum of contrastive answers over the frames, and true progress.

    An episode with a failure among its consecutive pairs has no sum and is left out.
    """

    def row(judged: JudgedEpisode) -> Row | None:
        pairs = consecutive_pairs(judged.episode)
        said = numbers(judged.contrastive, pairs, read)
        truth = judged.episode.progress
        assert truth is not None  # noqa: S101
        if len(said) < len(pairs):
            return None
        return Row(np.cumsum([0.0, *said.values()]).tolist(), truth.tolist())

    return gather(model, "contrastive", ("progress",), row)


def running_sums_of_successes(model: JudgedModel, read: Reading) -> Evidence:
    """As ``running_sums``, of successes, up to the first success; the truth is the step."""

    def row(judged: JudgedEpisode) -> Row | None:
        pairs = consecutive_pairs(judged.episode)[: _until_success(judged)]
        said = numbers(judged.contrastive, pairs, read)
        if len(said) < len(pairs):
            return None
        steps = judged.episode.steps[: len(pairs) + 1]
        return Row(np.cumsum([0.0, *said.values()]).tolist(), steps.tolist())

    return gather(model, "contrastive", ("success",), row, of=_succeeds)


def progress_of_successes(model: JudgedModel, read: Reading) -> Evidence:
    """Said progress and time (the step) over a success, up to the frame of its first success."""

    def row(judged: JudgedEpisode) -> Row:
        frames = range(_until_success(judged) + 1)
        return _beside(judged.episode.steps, judged.progress, frames, read)

    return gather(model, "progress", ("success",), row, of=_succeeds)


def episode_rewards(model: JudgedModel, head: str, read: Reading) -> Evidence:
    """A head's rewards at the frames after the first, and the oracle's at the same frames.

    The oracle's reward is the environment's own where every episode has it; else true progress,
    and for comparisons its change.
    """
    own = all(judged.episode.rewards is not None for judged in model.episodes)

    def row(judged: JudgedEpisode) -> Row | None:
        said = rewards_of(judged, head, read)
        if not said:
            return None
        truth = judged.episode.rewards if own else judged.episode.progress
        assert truth is not None  # noqa: S101
        change = head == "contrastive" and not own
        true = [truth[at] - (truth[at - 1] if change else 0) for at in said]
        return Row(list(said.values()), true, len(truth) - 1 - len(said))

    return gather(model, head, () if own else ("progress",), row, of=_has_rewards)


def episode_outcomes(model: JudgedModel, head: str, read: Reading) -> Evidence:
    """The mean of a head's rewards over an episode, and whether it succeeds; one entry each.

    An episode of one frame has no rewards.
    """

    def row(judged: JudgedEpisode) -> Row | None:
        said = list(rewards_of(judged, head, read).values())
        if not said:
            return None
        lost = len(judged.episode.frames) - 1 - len(said)
        return Row([float(np.mean(said))], [float(bool(judged.episode.success))], lost)

    return gather(model, head, ("success",), row, of=_has_rewards)


def last_answers(
    model: JudgedModel,
    head: str,
    labels: Sequence[str],
    truth: Callable[[JudgedEpisode], float],
    read: Callable[[Answer], float | None],
) -> Evidence:
    """What a head says of the last frame, and a truth about the episode; one entry each."""

    def row(judged: JudgedEpisode) -> Row | None:
        answers = judged.progress if head == "progress" else judged.completion
        answer = answers.get(len(judged.episode.frames) - 1)
        said = None if answer is None else read(answer)
        return None if said is None else Row([said], [truth(judged)])

    return gather(model, head, labels, row)


def rewards_of(judged: JudgedEpisode, head: str, read: Reading) -> dict[int, float]:
    """A head's rewards by frame, of the frames after the first that have an answer."""
    if head == "contrastive":
        pairs = numbers(judged.contrastive, consecutive_pairs(judged.episode), read)
        return {current: value for (_, current), value in pairs.items()}
    answers = judged.progress if head == "progress" else judged.completion
    return numbers(answers, range(1, len(judged.episode.frames)), read)


def _comparisons(
    model: JudgedModel, read: Reading, pairs: Callable[[JudgedEpisode], list[Pair]]
) -> Evidence:
    def row(judged: JudgedEpisode) -> Row:
        wanted = pairs(judged)
        said = numbers(judged.contrastive, wanted, read)
        truth = judged.episode.progress
        assert truth is not None  # noqa: S101
        true = [truth[two] - truth[one] for one, two in said]
        return Row(list(said.values()), true, len(wanted) - len(said))

    return gather(model, "contrastive", ("progress",), row)


def _beside(
    truth: NDArray[Any], answers: Mapping[int, Answer], frames: Sequence[int], read: Reading
) -> Row:
    """Answers about frames, and the truth of the same frames."""
    said = numbers(answers, frames, read)
    return Row(list(said.values()), [truth[at] for at in said], len(frames) - len(said))


def _has_rewards(judged: JudgedEpisode) -> bool:
    return len(judged.episode.frames) > 1


def _succeeds(judged: JudgedEpisode) -> bool:
    return bool(judged.episode.success)


def _until_success(judged: JudgedEpisode) -> int:
    """Place of the first frame that is done, or of the last where that is not labelled."""
    done = judged.episode.done
    if done is None or not done.any():
        return len(judged.episode.frames) - 1
    return int(np.argmax(done))
