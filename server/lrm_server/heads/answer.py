"""From what an engine read to a reply's numbers. Pure; no engine, no transport."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import CompositeProfile, LabelProfile, SequenceProfile, Use
from lrm_server.heads.query import Reply

UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities over a head's labels, and how much of the model they are.

    Attributes:
        probabilities: label -> probability, summing to 1; for a profile that normalises
            over the vocabulary, the model's own.
        label_mass: sum of the labels' own probabilities before normalising.
        log_probability: of the only label, for such a profile.
    """

    probabilities: Mapping[str, float]
    label_mass: float
    log_probability: float | None = None


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
    names = [label.label for label in profile.labels]
    if profile.normalise == "vocabulary":
        return Distribution({names[0]: min(mass, 1.0)}, min(mass, 1.0), min(top, 0.0))
    weights = [math.exp(lp - top) for lp in logprobs]
    total = sum(weights)
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
    if profile.paid_by_log_probability is not None and distribution.log_probability is not None:
        value = profile.paid_by_log_probability.value(distribution.log_probability)
        return Verdict(label, value, value, probabilities[label])
    expected = sum(probabilities[name] * values[name] for name in values)
    confidence = probabilities[label]
    if profile.pair is not None and margin > 0 and abs(confidence - 0.5) < margin:
        return Verdict(UNDECIDED, 0.0, expected, confidence)
    value = values[label] if use is Use.LABEL else expected
    return Verdict(label, value, expected, confidence)


def parse_answer(profile: LabelProfile, text: str) -> str:
    """The label in a written answer.

    The last JSON object must hold it, and exactly it; of a profile whose answer is a
    line, what follows the last ``answer_prefix``, up to the line's end, must be it.

    Raises:
        DomainError: ANSWER_UNPARSABLE; numbers in prose are never guessed at.
    """
    written = _in_json(profile.answer_key, text) if profile.answer_key else _in_line(profile, text)
    for label in profile.labels:
        if isinstance(written, str) and written == label.written.strip():
            return label.label
    form = f'JSON object {{"{profile.answer_key}": ...}}' if profile.answer_key else "line"
    wanted = ", ".join(label.written for label in profile.labels)
    raise DomainError(
        ErrorCode.ANSWER_UNPARSABLE,
        f"head {profile.head}: the model wrote no {form} with one of: {wanted}. It ended with "
        f"{text[-80:]!r}.",
    )


def parse_percentages(profile: SequenceProfile, text: str, count: int) -> tuple[int, ...]:
    """The percentages in a written answer, in the order in which the frames were shown.

    Args:
        profile: whose answer it is.
        text: what the model wrote.
        count: how many frames were shown.

    Raises:
        DomainError: ANSWER_UNPARSABLE when they are not ``count`` whole numbers of 0 to 100.
    """
    written = _in_json(profile.answer_key, text)
    # Numbers keep their spelling: 40.0 is no whole number, and 040 none at all.
    if isinstance(written, list) and len(written) == count:
        numbers = [int(each) for each in written if isinstance(each, str) and each.isdecimal()]
        if len(numbers) == count and all(number <= 100 for number in numbers):
            return tuple(numbers)
    raise DomainError(
        ErrorCode.ANSWER_UNPARSABLE,
        f'head {profile.head}: the model wrote no JSON object {{"{profile.answer_key}": [...]}} '
        f"with {count} whole numbers of 0 to 100, one for each frame. It ended with "
        f"{text[-80:]!r}.",
    )


def _in_json(key: str, text: str) -> object:
    """What the last JSON object holds under its only key; None when there is none."""
    start = text.rfind("{")
    if start < 0:
        return None
    try:
        # Numbers keep their spelling: 0.70 is not the label 0.7.
        found, _ = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None
    return found[key] if isinstance(found, dict) and set(found) == {key} else None


def _in_line(profile: LabelProfile, text: str) -> str | None:
    prefix = profile.answer_prefix.strip()
    at = text.rfind(prefix) if prefix else 0
    if at < 0:
        return None
    line, _, after = text[at + len(prefix) :].strip().partition("\n")
    # An answer that is nothing but its label has nothing after it either.
    if not prefix and after.strip():
        return None
    return line.strip().removesuffix(profile.terminator.strip())


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
