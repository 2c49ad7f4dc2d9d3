"""From log-probabilities and texts to labels and values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.answer import (
    Distribution,
    average_orders,
    decide,
    normalise,
    parse_answer,
)
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Use


def profile(name: str) -> LabelProfile:
    loaded = load_profile(name)
    assert isinstance(loaded, LabelProfile)
    return loaded


PROGRESS, PAIR, DONE = (profile(f"lrm_{n}") for n in ("progress", "contrastive", "completion"))
shares = st.lists(st.floats(1e-6, 1.0), min_size=11, max_size=11)


@given(shares, st.floats(0.06, 1.0))
def test_probabilities_sum_to_one_and_the_mass_is_what_they_had_before(
    weights: list[float], mass: float
) -> None:
    logprobs = [math.log(mass * weight / sum(weights)) for weight in weights]
    found = normalise(PROGRESS, logprobs)
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert found.label_mass == pytest.approx(mass)
    verdict = decide(PROGRESS, found, use=Use.EXPECTED, margin=0.0)
    wanted = sum(weight * at / 10 for at, weight in enumerate(weights)) / sum(weights)
    assert verdict.value == verdict.expected == pytest.approx(wanted)
    assert decide(PROGRESS, found, use=Use.LABEL, margin=0.0).value == float(verdict.label)


@pytest.mark.parametrize(
    "logprobs", [[math.log(0.02), math.log(0.02)], [-math.inf, -math.inf], [math.nan, -1.0]]
)
def test_a_model_that_does_not_answer_is_an_error_and_no_value(logprobs: list[float]) -> None:
    with pytest.raises(DomainError) as error:
        normalise(DONE, logprobs)
    assert error.value.code is ErrorCode.LABEL_MASS_LOW


def test_both_orders_are_averaged_by_their_log_odds() -> None:
    straight = Distribution({"previous": 0.2, "current": 0.8}, 0.9)
    swapped = Distribution({"previous": 0.6, "current": 0.4}, 0.7)
    found = average_orders(PAIR, straight, swapped)
    # The swapped order speaks for current with its first label: odds 4 and 1.5.
    odds = math.sqrt(4.0 * 1.5)
    assert found.probabilities["current"] == pytest.approx(odds / (1 + odds))
    assert found.label_mass == 0.7


def test_a_pair_within_the_margin_is_undecided_and_worth_nothing() -> None:
    close = Distribution({"previous": 0.46, "current": 0.54}, 1.0)
    assert decide(PAIR, close, use=Use.LABEL, margin=0.05).label == "undecided"
    assert decide(PAIR, close, use=Use.LABEL, margin=0.05).value == 0.0
    assert decide(PAIR, close, use=Use.LABEL, margin=0.03).value == 1.0


@pytest.mark.parametrize(
    ("head", "text", "label"),
    [
        (PROGRESS, 'So 3 of 10.\n{ "completion_progress": 0.7 }', "0.7"),
        (PROGRESS, '{ "completion_progress": "0.7" }', "0.7"),
        (DONE, 'I know that {it is}.\n{"task_completed": "no"}', "no"),
        (
            PAIR,
            'A { "more_complete_image": "ImageA" } { "more_complete_image": "ImageB" }',
            "current",
        ),
    ],
)
def test_the_last_json_object_is_the_answer(head: LabelProfile, text: str, label: str) -> None:
    assert parse_answer(head, text) == label


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (PROGRESS, "1 cube is at the goal"),
        (PROGRESS, '{ "completion_progress": 0.75 }'),
        (PROGRESS, '{ "completion_progress": 0.70 }'),
        (PROGRESS, '{ "completion_progress": 1 }'),
        (PROGRESS, '{ "completion_progress": 0.7'),
        (PROGRESS, '{ "completion_progress": 0.7, "sure": 1 }'),
        (PROGRESS, ""),
        (DONE, "I know that it is done: yes"),
        (DONE, '{ "task_completed": "Yes" }'),
        (DONE, '{ "task_completed": true }'),
        (PAIR, '{ "more_complete_image": "ImageC" }'),
    ],
)
def test_anything_else_is_an_error_and_never_guessed_at(head: LabelProfile, text: str) -> None:
    with pytest.raises(DomainError) as error:
        parse_answer(head, text)
    assert error.value.code is ErrorCode.ANSWER_UNPARSABLE
