"""How far the readouts of a head agree: the same questions, read in every way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lrm_client import Readout, Use
from lrm_server.evaluation.asking import Question
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.gathering import by_expectation, by_label
from lrm_server.evaluation.metrics.bootstrap import with_interval
from lrm_server.evaluation.metrics.columns import checked, pooled
from lrm_server.evaluation.metrics.correlation import spearman
from lrm_server.evaluation.metrics.ratios import ratio
from lrm_server.evaluation.metrics.result import Measurement, Metric
from lrm_server.evaluation.readouts import Asked, Cost

_READ = {Use.LABEL: by_label, Use.EXPECTED: by_expectation}


@dataclass(frozen=True, slots=True)
class Readings:
    """What one readout gave.

    Attributes:
        readout: how it was read.
        asked: questions.
        answered: those with a value.
        failures: code -> how many failed with it.
        said: the first failure, in words; empty when none failed.
        cost: None where no batch was asked in this way first.
    """

    readout: Readout
    asked: int
    answered: int
    failures: Mapping[str, int]
    said: str
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two readouts on the questions that both answered.

    Attributes:
        first: a readout.
        second: another.
        use: which number is compared; ``expected`` is a readout's value where it gives no
            probabilities, as a caller gets it.
        both: questions that both answered.
        equal: share of equal labels; has no value for heads without labels.
        mean_difference: mean of |first - second|, in the head's values.
        largest_difference: the largest of them; None where there is none.
        largest_at: the question it is of, as ``episode previous->current`` or ``episode current``.
        rank_correlation: Spearman's, over all questions.
    """

    first: Readout
    second: Readout
    use: Use
    both: int
    equal: Metric
    mean_difference: Metric
    largest_difference: float | None
    largest_at: str
    rank_correlation: Metric


@dataclass(frozen=True, slots=True)
class HeadAgreement:
    """One head: its readouts, and each pair of them."""

    head: str
    episodes: int
    questions: int
    readings: tuple[Readings, ...]
    comparisons: tuple[Comparison, ...]


def agreement(asked: Asked, bootstrap: Bootstrap) -> HeadAgreement:
    """What the answers say; intervals are drawn over episodes."""
    return HeadAgreement(
        asked.head,
        len({id(question.episode) for question in asked.questions}),
        len(asked.questions),
        tuple(_readings(readout, asked) for readout in asked.answers),
        tuple(
            _compare(asked, first, second, use, bootstrap)
            for first, second in combinations(asked.answers, 2)
            for use in Use
            if use is Use.LABEL or _has_probabilities(asked, first, second)
        ),
    )


def _readings(readout: Readout, asked: Asked) -> Readings:
    answers = asked.answers[readout]
    errors = [answer.error for answer in answers if answer.error]
    return Readings(
        readout,
        len(answers),
        len(answers) - len(errors),
        dict(Counter(error.partition(":")[0] for error in errors)),
        errors[0] if errors else "",
        asked.costs.get(readout),
    )


def _has_probabilities(asked: Asked, *readouts: Readout) -> bool:
    return any(
        answer.expected is not None for readout in readouts for answer in asked.answers[readout]
    )


def _compare(
    asked: Asked, first: Readout, second: Readout, use: Use, bootstrap: Bootstrap
) -> Comparison:
    read = _READ[use]
    # One row an episode: (first, second, equal labels, the question).
    rows: dict[int, list[tuple[float, float, bool, Question]]] = {}
    labels = 0
    for question, *said in zip(
        asked.questions, asked.answers[first], asked.answers[second], strict=True
    ):
        one, other = (read(answer) for answer in said)
        if one is None or other is None:
            continue
        same = said[0].label == said[1].label
        labels += bool(said[0].label or said[1].label)
        rows.setdefault(id(question.episode), []).append((one, other, same, question))
    columns = pooled(
        checked(
            first=[[one for one, *_ in row] for row in rows.values()],
            second=[[other for _, other, *_ in row] for row in rows.values()],
        )
    )
    counts = [len(row) for row in rows.values()]
    found = [
        ratio(
            "equal labels",
            [sum(same for *_, same, _ in row) for row in rows.values()],
            counts if labels else np.zeros(len(rows)),
            over="questions",
            reason="the head has no labels" if rows else "no question was answered by both",
        ),
        ratio(
            "mean difference",
            [sum(abs(one - other) for one, other, *_ in row) for row in rows.values()],
            counts,
            over="questions",
            reason="no question was answered by both",
        ),
        Measurement(
            "rank correlation",
            lambda drawn: spearman(*columns.of(drawn)),
            len(rows),
            sum(counts),
            "questions",
            reason="fewer than two questions, or all values of one readout are equal",
        ),
    ]
    equal, mean, correlation = (_with_interval(each, bootstrap) for each in found)
    widest = max(
        (each for row in rows.values() for each in row),
        key=lambda each: abs(each[0] - each[1]),
        default=None,
    )
    return Comparison(
        first,
        second,
        use,
        sum(counts),
        equal,
        mean,
        None if widest is None else abs(widest[0] - widest[1]),
        "" if widest is None else _named(widest[3]),
        correlation,
    )


def _with_interval(measurement: Measurement, bootstrap: Bootstrap) -> Metric:
    if not bootstrap.resamples:
        return measurement.metric
    return with_interval(
        measurement, resamples=bootstrap.resamples, level=bootstrap.level, seed=bootstrap.seed
    )


def _named(question: Question) -> str:
    previous = "" if question.previous is None else f"{question.previous}->"
    return f"{question.episode.id} {previous}{question.current}"
