"""The figures of the field's papers from a model's answers: which metric, over what."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from lrm_server.evaluation import evidence as ev
from lrm_server.evaluation.asking import MODEL_CODES, Answer
from lrm_server.evaluation.gathering import (
    Evidence,
    MissingError,
    Reading,
    by_expectation,
    by_label,
)
from lrm_server.evaluation.judged import JudgedEpisode, JudgedModel
from lrm_server.evaluation.metrics import calibration, lrm, robometer, roboreward
from lrm_server.evaluation.metrics.bootstrap import difference, with_interval
from lrm_server.evaluation.metrics.result import Measurement, Metric

Better = Literal["higher", "lower"]

PARTIAL_FROM: Final = 0.5
"""A failure that ends with so much true progress is partly successful."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are drawn; no resamples, no intervals."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement, and what it is of.

    Attributes:
        measurement: over the episodes.
        whole: the episodes whose every question has its answer.
        note: what is left out.
        strata: what a resample must keep: one stratum an episode, or None.
    """

    measurement: Measurement
    whole: tuple[JudgedEpisode, ...]
    note: str = ""
    strata: Sequence[Hashable] | None = None

    def metric(self, name: str, bootstrap: Bootstrap) -> Metric:
        """With its interval, where there are resamples."""
        metric = (
            with_interval(
                self.measurement,
                resamples=bootstrap.resamples,
                level=bootstrap.level,
                seed=bootstrap.seed,
                strata=self.strata,
            )
            if bootstrap.resamples
            else self.measurement.metric
        )
        notes = "; ".join(note for note in (metric.note, self.note) if note)
        return replace(metric, name=name, note=notes)


Measure = Callable[[JudgedModel], Measured]
"""Raises MissingError where the figure cannot be taken."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table.

    Attributes:
        key: within its section; the published figures are found by it, under a heading by what
            stands before its colon.
        label: as printed.
        better: which way is better.
        measure: the measurement of a model.
        under: heading that it stands under; empty for none.
    """

    key: str
    label: str
    better: Better
    measure: Measure
    under: str = ""

    def of(self, model: JudgedModel, bootstrap: Bootstrap) -> Metric:
        """The figure of a model with its interval, or why there is none."""
        try:
            return self.measure(model).metric(self.label, bootstrap)
        except MissingError as error:
            return Metric(self.label, None, why=str(error))

    def less(self, model: JudgedModel, other: JudgedModel, bootstrap: Bootstrap) -> Metric:
        """A model's figure less another's.

        It is over the episodes that both answered as a whole; a resample draws the same for both.
        """
        try:
            mine, others = self._where_both_answered(model, other)
        except MissingError as error:
            return Metric(self.label, None, why=str(error))
        between = replace(mine, measurement=difference(mine.measurement, others.measurement))
        return between.metric(self.label, bootstrap)

    def _where_both_answered(
        self, model: JudgedModel, other: JudgedModel
    ) -> tuple[Measured, Measured]:
        both = _keys(self.measure(model).whole) & _keys(self.measure(other).whole)
        if not both:
            raise MissingError("there is no episode that both models answered as a whole")
        return self.measure(model.only(both)), self.measure(other.only(both))


def _keys(episodes: Sequence[JudgedEpisode]) -> set[tuple[str, str]]:
    return {judged.key for judged in episodes}


Gather = Callable[[JudgedModel], Evidence]


def over(gather: Gather, metric: Callable[..., Measurement]) -> Measure:
    """A metric of what was said and what is so."""

    def measure(model: JudgedModel) -> Measured:
        found = gather(model)
        return Measured(metric(found.said, found.true), found.whole, found.note)

    return measure


def progress_by(read: Reading) -> Gather:
    """Frames after the first."""
    return lambda model: ev.progress_errors(model, read)


def near(model: JudgedModel) -> Evidence:
    """Near pairs in both orders, by label: what is undecided has no direction."""
    return ev.near_comparisons(model, by_label)


def hard(model: JudgedModel) -> Evidence:
    """Frames that are hard to call done or not."""
    return ev.hard_completion_calls(model, by_expectation)


def consecutive(model: JudgedModel) -> Evidence:
    """Consecutive frames, by label."""
    return ev.consecutive_comparisons(model, by_label)


def completion_accuracy(model: JudgedModel) -> Measured:
    """By label, over every frame."""
    return over(lambda m: ev.completion_calls(m, by_label), lrm.completion_accuracy)(model)


def completion_ece(model: JudgedModel) -> Measured:
    """Calibration of the probability of done."""
    return over(ev.completion_probabilities, calibration.ece)(model)


def order(metric: Callable[..., Measurement]) -> Measure:
    """A metric of the running sum of contrastive answers against true progress."""
    return over(lambda model: ev.running_sums(model, by_label), metric)


def monotonicity(model: JudgedModel) -> Measured:
    """Of the running sum of contrastive answers over successes."""
    found = ev.running_sums_of_successes(model, by_label)
    measurement = lrm.monotonicity(found.said, [1.0] * len(found.said))
    return Measured(measurement, found.whole, found.note)


def outcome(head: str, metric: Callable[..., Measurement]) -> Measure:
    """A metric of an episode's mean reward against its success."""
    return over(lambda model: ev.episode_outcomes(model, head, by_expectation), metric)


def trajectories(head: str) -> Measure:
    """Correlation over time of a head's rewards with the oracle's."""
    gather: Gather = lambda model: ev.episode_rewards(model, head, by_expectation)  # noqa: E731
    return over(gather, lrm.trajectory_pearson)


def totals(head: str) -> Measure:
    """Correlation over episodes of the mean of a head's rewards with the oracle's mean."""

    def measure(model: JudgedModel) -> Measured:
        found = ev.episode_rewards(model, head, by_expectation)
        means = [[float(np.mean(row)) for row in column] for column in (found.said, found.true)]
        return Measured(lrm.global_pearson(*means), found.whole, found.note)

    return measure


def voc(metric: Callable[..., Measurement]) -> Measure:
    """Value-order correlation on successes, up to the first success."""
    return over(lambda model: ev.progress_of_successes(model, by_expectation), metric)


def success_auprc(model: JudgedModel) -> Measured:
    """Of the last frame's completion."""
    found = ev.last_answers(
        model, "completion", ("success",), lambda j: float(bool(j.episode.success)), by_expectation
    )
    measurement = robometer.success_auprc(found.said, found.true)
    return Measured(measurement, found.whole, found.note)


def policy_ranking(model: JudgedModel) -> Measured:
    """Quality groups of each task, ranked by the mean of the last frame's progress.

    The groups are of what came out, whoever acted: successful (2) before partly successful (1: a
    failure that ends with true progress of ``PARTIAL_FROM`` or more) before failed (0). A task is
    the episode's group, or its words where it has none.
    """
    found = ev.last_answers(model, "progress", ("success", "progress"), _quality, by_expectation)
    tasks = [judged.episode.group or judged.episode.task for judged in found.episodes]
    ranks = [float(rank[0]) for rank in found.true]
    measurement = robometer.policy_ranking(found.said, ranks, tasks)
    strata = list(zip(tasks, ranks, strict=True))
    return Measured(measurement, found.whole, found.note, strata)


def _quality(judged: JudgedEpisode) -> float:
    if judged.episode.success:
        return 2.0
    assert judged.episode.progress is not None  # noqa: S101
    return float(judged.episode.progress[-1] >= PARTIAL_FROM)


@dataclass(frozen=True, slots=True)
class _Ratings:
    """Ratings of 1 to 5 of last frames; None where the model gave no usable answer."""

    said: list[float | None]
    true: list[float]
    subsets: list[str]
    whole: tuple[JudgedEpisode, ...]
    note: str


def _ratings(model: JudgedModel) -> _Ratings:
    def rating(answer: Answer) -> float | None:
        if answer.value is not None:
            return float(roboreward.to_rating(min(max(answer.value, 0.0), 1.0)))
        return float("nan") if answer.error.partition(":")[0] in MODEL_CODES else None

    def truth(judged: JudgedEpisode) -> float:
        assert judged.episode.progress is not None  # noqa: S101
        return float(roboreward.to_rating(judged.episode.progress[-1]))

    found = ev.last_answers(model, "progress", ("progress",), truth, rating)
    return _Ratings(
        [None if np.isnan(row[0]) else float(row[0]) for row in found.said],
        [float(row[0]) for row in found.true],
        [judged.episode.group or judged.data_set for judged in found.episodes],
        found.whole,
        found.note,
    )


def roboreward_macro(model: JudgedModel) -> Measured:
    """Mean over subsets of the error of the rating of the last frame."""
    found = _ratings(model)
    measurement = roboreward.macro_mae(found.said, found.true, found.subsets)
    return Measured(measurement, found.whole, found.note, found.subsets)


def roboreward_subset(subset: str) -> Measure:
    """The error of the rating of the last frame in one subset."""

    def measure(model: JudgedModel) -> Measured:
        found = _ratings(model.of_group(subset))
        each = roboreward.mae_per_subset(found.said, found.true, found.subsets)
        return Measured(each[subset], found.whole, found.note)

    return measure


def of_group(gather: Gather, metric: Callable[..., Measurement], group: str) -> Measure:
    """A metric over the episodes of one group."""
    return over(lambda model: gather(model.of_group(group)), metric)
