"""What each figure is of: which answers, and which truth beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from lrm_server.evaluation.asking import Answer
from lrm_server.evaluation.gathering import Evidence, Reading, Row, gather, numbers
from lrm_server.evaluation.judged import JudgedEpisode, JudgedModel
from lrm_server.evaluation.plan import Pair, both_orders, consecutive_pairs, near_pairs

SHORTLY_BEFORE: Final = 0.85
"""An unfinished frame of a success counts as shortly before it from this true progress on."""


def progress_errors(model: JudgedModel, read: Reading) -> Evidence:
    """Said and true progress of the frames after the first, which is the initial one itself."""

    def row(judged: JudgedEpisode) -> Row:
        said = numbers(judged.progress, range(1, len(judged.episode.frames)), read)
        truth = judged.episode.progress
        assert truth is not None  # noqa: S101
        return list(said.values()), [truth[at] for at in said]

    return gather(model, "progress", ("progress",), row)


def completion_calls(model: JudgedModel, read: Reading) -> Evidence:
    """Said and true completion of every frame."""

    def row(judged: JudgedEpisode) -> Row:
        said = numbers(judged.completion, range(len(judged.episode.frames)), read)
        done = judged.episode.done
        assert done is not None  # noqa: S101
        return list(said.values()), [done[at] for at in said]

    return gather(model, "completion", ("done",), row)


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
        said = numbers(judged.completion, hard, read)
        return list(said.values()), [done[at] for at in said]

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
        return np.cumsum([0.0, *said.values()]).tolist(), truth.tolist()

    return gather(model, "contrastive", ("progress",), row)


def running_sums_of_successes(model: JudgedModel, read: Reading) -> Evidence:
    """As ``running_sums``, of successes, up to the first success; the truth is the step."""

    def row(judged: JudgedEpisode) -> Row | None:
        pairs = consecutive_pairs(judged.episode)[: _until_success(judged)]
        said = numbers(judged.contrastive, pairs, read)
        if not judged.episode.success or len(said) < len(pairs):
            return None
        steps = judged.episode.steps[: len(pairs) + 1]
        return np.cumsum([0.0, *said.values()]).tolist(), steps.tolist()

    return gather(model, "contrastive", ("success",), row)


def progress_of_successes(model: JudgedModel, read: Reading) -> Evidence:
    """Said progress and time (the step) over a success, up to the frame of its first success."""

    def row(judged: JudgedEpisode) -> Row | None:
        if not judged.episode.success:
            return None
        said = numbers(judged.progress, range(_until_success(judged) + 1), read)
        return list(said.values()), [judged.episode.steps[at] for at in said]

    return gather(model, "progress", ("success",), row)


def episode_rewards(model: JudgedModel, head: str, read: Reading) -> Evidence:
    """A head's rewards at the frames after the first, and the oracle's at the same frames.

    The oracle's reward is the environment's own where every episode has it; else true progress,
    and for comparisons its change.
    """
    own = all(judged.episode.rewards is not None for judged in model.episodes)

    def row(judged: JudgedEpisode) -> Row:
        said = rewards_of(judged, head, read)
        truth = judged.episode.rewards if own else judged.episode.progress
        assert truth is not None  # noqa: S101
        change = head == "contrastive" and not own
        return list(said.values()), [truth[at] - (truth[at - 1] if change else 0) for at in said]

    return gather(model, head, () if own else ("progress",), row)


def episode_outcomes(model: JudgedModel, head: str, read: Reading) -> Evidence:
    """The mean of a head's rewards over an episode, and whether it succeeds; one entry each."""

    def row(judged: JudgedEpisode) -> Row | None:
        said = list(rewards_of(judged, head, read).values())
        return ([float(np.mean(said))], [float(bool(judged.episode.success))]) if said else None

    return gather(model, head, ("success",), row)


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
        return None if said is None else ([said], [truth(judged)])

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
        said = numbers(judged.contrastive, pairs(judged), read)
        truth = judged.episode.progress
        assert truth is not None  # noqa: S101
        return list(said.values()), [truth[two] - truth[one] for one, two in said]

    return gather(model, "contrastive", ("progress",), row)


def _until_success(judged: JudgedEpisode) -> int:
    """Place of the first frame that is done, or of the last where that is not labelled."""
    done = judged.episode.done
    if done is None or not done.any():
        return len(judged.episode.frames) - 1
    return int(np.argmax(done))
