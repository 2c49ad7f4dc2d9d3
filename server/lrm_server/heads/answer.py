"""From what an engine read to a reply's numbers. Pure; no engine, no transport."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import CompositeProfile, LabelProfile, Use
from lrm_server.heads.query import Reply

UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities over a head's labels, and how much of the model they are.

    Attributes:
        probabilities: label -> probability, summing to 1.
        label_mass: sum of the labels' own probabilities before normalising.
    """

    probabilities: Mapping[str, float]
    label_mass: float


def normalise(profile: LabelProfile, logprobs: Sequence[float]) -> Distribution:
    """Normalises the labels' log-probabilities, in the order of the profile.

    Raises:
        DomainError: LABEL_MASS_LOW when the model put less on all the labels
            together than the profile's floor: it was not answering the question.
    """
    if any(math.isnan(logprob) for logprob in logprobs):
        raise DomainError(
            ErrorCode.LABEL_MASS_LOW,
            f"head {profile.head}: the model gave no number for a label; its weights or its "
            "input are broken.",
        )
    top = max(logprobs)
    mass = math.exp(top) * sum(math.exp(lp - top) for lp in logprobs) if top > -math.inf else 0.0
    if mass < profile.label_mass_floor or mass == 0.0:
        raise DomainError(
            ErrorCode.LABEL_MASS_LOW,
            f"head {profile.head}: the model put {mass:.4f} of its probability on the labels and "
            f"the floor is {profile.label_mass_floor}: it was not answering the question. Use the "
            "readout that the checkpoint was trained for (reason_then_read for adapters that "
            "reason first), or another checkpoint.",
        )
    weights = [math.exp(lp - top) for lp in logprobs]
    total = sum(weights)
    names = [label.label for label in profile.labels]
    return Distribution(
        {name: weight / total for name, weight in zip(names, weights, strict=True)},
        min(mass, 1.0),
    )


def average_orders(
    profile: LabelProfile, straight: Distribution, swapped: Distribution
) -> Distribution:
    """Averages the log-odds of a pair asked in both orders.

    ``swapped`` was read with the frames exchanged, so its first label speaks for
    the second frame. The label mass is the smaller of the two.
    """
    first, second = (label.label for label in profile.labels)

    def log_odds(high: float, low: float) -> float:
        tiny = 1e-300
        return math.log(max(high, tiny)) - math.log(max(low, tiny))

    there = log_odds(straight.probabilities[second], straight.probabilities[first])
    back = log_odds(swapped.probabilities[first], swapped.probabilities[second])
    mean = (there + back) / 2.0
    p_second = 1.0 / (1.0 + math.exp(-mean)) if mean > -700 else 0.0
    return Distribution(
        {first: 1.0 - p_second, second: p_second},
        min(straight.label_mass, swapped.label_mass),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Label, values and confidence as they go into a reply."""

    label: str
    value: float
    expected: float | None
    confidence: float | None


def decide(
    profile: LabelProfile, distribution: Distribution, *, use: Use, margin: float
) -> Verdict:
    """The most probable label and its value; within the margin a pair is undecided."""
    probabilities = distribution.probabilities
    values = profile.values
    label = max(probabilities, key=probabilities.__getitem__)
    expected = sum(probabilities[name] * values[name] for name in values)
    confidence = probabilities[label]
    if profile.pair is not None and margin > 0 and abs(confidence - 0.5) < margin:
        return Verdict(UNDECIDED, 0.0, expected, confidence)
    value = values[label] if use is Use.LABEL else expected
    return Verdict(label, value, expected, confidence)


def parse_answer(profile: LabelProfile, text: str) -> str:
    """The label in a written answer: the last JSON object must hold it, and exactly it.

    Raises:
        DomainError: ANSWER_UNPARSABLE; numbers in prose are never guessed at.
    """
    start = text.rfind("{")
    written: object = None
    if start >= 0:
        try:
            # Numbers keep their spelling: 0.70 is not the label 0.7.
            found, _ = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode(text[start:])
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and set(found) == {profile.answer_key}:
            written = found[profile.answer_key]
    for label in profile.labels:
        if isinstance(written, str) and written == label.written:
            return label.label
    wanted = ", ".join(label.written for label in profile.labels)
    raise DomainError(
        ErrorCode.ANSWER_UNPARSABLE,
        f'head {profile.head}: the model wrote no JSON object {{"{profile.answer_key}": ...}} with '
        f"one of: {wanted}. It ended with {text[-80:]!r}.",
    )


def combine(
    profile: CompositeProfile, replies: Mapping[str, Reply], *, use: Use
) -> tuple[float, float | None]:
    """Value and expected value of a composite head from the replies of its parts.

    tri: w1 (c + 1) / 2 + w2 p + w3 d (arXiv 2603.16065). The expected value is
    None when a part has none (readout generate).
    """
    value = sum(
        part.weight * part.rescaled(replies[part.head].value) for part in profile.components
    )
    expectations = [replies[part.head].expected for part in profile.components]
    expected: float | None = None
    if all(item is not None for item in expectations):
        expected = sum(
            part.weight * part.rescaled(item)
            for part, item in zip(profile.components, expectations, strict=True)
            if item is not None
        )
    if use is Use.EXPECTED and expected is not None:
        return expected, expected
    return value, expected
