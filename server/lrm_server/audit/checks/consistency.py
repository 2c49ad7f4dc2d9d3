"""Whether the same question gets the same answer: images swapped, other readouts, on the labels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from lrm_server.audit.checks.common import enough, mean_of, need_head
from lrm_server.audit.evidence import Comparison, Evidence, Pair, first_sentence
from lrm_server.audit.findings import (
    Details,
    Finding,
    NotComputableError,
    Verdict,
    measure,
    worst,
)
from lrm_server.audit.thresholds import Thresholds
from lrm_server.evaluation.asking import MODEL_CODES
from lrm_server.evaluation.metrics.result import Metric

SWAP = "swap"
SWAP_QUESTION = "Does contrastive say the same when the images change places?"
LABELS = "label mass"
LABELS_QUESTION = "Does the model answer at all: does its probability fall on the labels?"
READOUTS = "readouts"
READOUTS_QUESTION = "Do the ways to read an answer agree?"

STAGE = 0.1
"""Progress answers agree when they are no more than one stage apart."""


def check_swap(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Contradictions between (A, B) and (B, A), and the pull of a place."""
    need_head(evidence, "contrastive")
    contradictions: dict[str, list[float]] = defaultdict(list)
    pulls: dict[str, list[float]] = defaultdict(list)
    for pair in evidence.pairs:
        if pair.forward.value is not None and pair.backward.value is not None:
            opposed = np.sign(pair.forward.value) == -np.sign(pair.backward.value)
            contradictions[pair.episode].append(float(not opposed))
            if (pull := _pull(pair)) is not None:
                pulls[pair.episode].append(pull)
    enough(list(contradictions), "episodes with pairs answered twice", evidence, thresholds)
    share = mean_of("swap.contradictory", contradictions.values())
    measures = [
        measure(
            thresholds, "swap.contradictory", "pairs whose two answers contradict each other", share
        )
    ]
    sentence = f"In {share.value:.0%} of the pairs the two orders contradict each other"
    if pulls:
        signed = mean_of("swap.position_bias", pulls.values(), flags=False)
        sentence += f"; {_preference(signed.value or 0.0)}"
        meaning = "mean probability of a place, whatever it shows, beyond one half"
        measures.append(measure(thresholds, "swap.position_bias", meaning, _unsigned(signed)))
    verdict = worst([m.verdict for m in measures])
    advice = "" if verdict is Verdict.PASS else "Ask both orders (swap), at twice the cost."
    return Finding(SWAP, SWAP_QUESTION, verdict, sentence + ".", advice, tuple(measures))


def check_labels(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Questions left unanswered; median and first percentile of the label mass of the others."""
    masses, failures = evidence.label_masses, evidence.failures
    if not masses and not failures.unanswered:
        raise NotComputableError("no answer came with a label mass: the readout gives none")
    figures = {
        "labels.unanswered": (
            "questions that the model did not answer",
            failures.unanswered / failures.asked,
        )
    }
    sentence = f"{failures.unanswered} of {failures.asked} questions were not answered."
    if masses:
        median, low = float(np.median(masses)), float(np.percentile(masses, 1))
        figures["labels.mass_median"] = "median share of the probability on the labels", median
        figures["labels.mass_first_percentile"] = "first percentile of it", low
        sentence += (
            f" Of the model's probability {median:.2f} falls on the labels in the median, "
            f"{low:.2f} in the first percentile of {len(masses)} answers."
        )
    measures = tuple(
        measure(
            thresholds, name, meaning, Metric(name, number, count=failures.asked, over="questions")
        )
        for name, (meaning, number) in figures.items()
    )
    code = next((code for code in failures.reasons if code in MODEL_CODES), "")
    if code:
        sentence += f" Mostly {code}: {failures.said(code)}."
    verdict = worst([m.verdict for m in measures])
    advice = (
        ""
        if verdict is Verdict.PASS
        else "Use the readout that the checkpoint was trained to answer in, or another checkpoint."
    )
    return Finding(LABELS, LABELS_QUESTION, verdict, sentence, advice, measures)


def check_readouts(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Share of questions on which two readouts agree; one without an answer is no agreement."""
    refused = "; ".join(
        f"{name}: {first_sentence(error)}" for name, error in evidence.readout_errors.items()
    )
    compared = {
        f"{head}: {names}": some
        for names, comparisons in evidence.readouts.items()
        for head in evidence.heads
        if (some := [c for c in comparisons if c.head == head])
    }
    if not compared:
        raise NotComputableError(f"no two readouts were answered ({refused or 'none was asked'})")
    found = {
        name: mean_of("readouts.agreement", [[_agrees(c)] for c in some])
        for name, some in compared.items()
    }
    worst_pair, figure = min(found.items(), key=lambda item: item[1].value or 0.0)
    meaning = f"questions on which they agree, worst pair ({worst_pair})"
    one = measure(thresholds, "readouts.agreement", meaning, figure)
    rows = tuple(
        (name, m.value, sum(c.answered for c in compared[name]), len(compared[name]))
        for name, m in found.items()
    )
    answered, asked = sum(row[2] for row in rows), sum(row[3] for row in rows)
    sentence = f"The readouts that differ most agree on {figure.value:.0%} ({worst_pair})."
    sentence += f" {answered} of {asked} questions were answered by both."
    if refused:
        sentence += f" Refused: {refused}."
    advice = "" if one.verdict is Verdict.PASS else "Train and deploy with one readout, and name it"
    return Finding(
        READOUTS,
        READOUTS_QUESTION,
        one.verdict,
        sentence,
        advice and f"{advice} in the query.",
        (one,),
        (Details("Agreement", ("readouts", "agreement", "answered by both", "asked"), rows),),
    )


def _agrees(comparison: Comparison) -> float:
    if not comparison.answered:
        return 0.0
    if comparison.head != "progress":
        return float(not comparison.flipped)
    before, after = comparison.plain.value, comparison.changed.value
    assert before is not None  # noqa: S101
    assert after is not None  # noqa: S101
    return float(abs(before - after) <= STAGE + 1e-9)


def _pull(pair: Pair) -> float | None:
    """Mean probability of the second place over both orders, beyond one half, in [-0.5, 0.5]."""
    both = [answer.probabilities.get("current") for answer in (pair.forward, pair.backward)]
    given = [p for p in both if p is not None]
    return float(np.mean(given)) - 0.5 if len(given) == len(both) else None


def _preference(pull: float) -> str:
    if abs(pull) < 0.005:
        return "neither place is preferred"
    place = "second (current)" if pull > 0 else "first (previous)"
    return f"the {place} place draws {abs(pull):.2f} beyond one half"


def _unsigned(signed: Metric) -> Metric:
    """The size of a bias; its interval's near end is 0 where the interval spans 0."""
    value = abs(signed.value or 0.0)
    if signed.low is None or signed.high is None:
        return Metric(signed.name, value, count=signed.count, over="episodes")
    spans = signed.low <= 0 <= signed.high
    near, far = sorted((abs(signed.low), abs(signed.high)))
    return Metric(
        signed.name, value, 0.0 if spans else near, far, signed.level, signed.count, "episodes"
    )
