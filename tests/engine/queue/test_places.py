"""How many questions may be past the queue, of each class."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.callers import Priority
from lrm_server.engine.places import FixedPlaces, Places, StepPlaces

I, B = Priority.INTERACTIVE, Priority.BATCH  # noqa: E741


def most(places: Places, priority: Priority, *, contended: bool = True, beside: int = 0) -> int:
    """How many of a class may be past the queue, beside so many of the other."""
    other = B if priority is I else I
    passed = Counter({other: beside})
    while places.has_room(priority, passed, contended=contended):
        passed[priority] += 1
    return passed[priority]


def step_places(tokens: float, step_tokens: int = 1000, sequences: int = 128) -> StepPlaces:
    places = StepPlaces(step_tokens, sequences)
    places.answered(B, tokens)
    return places


def test_batch_gets_two_steps_worth_of_questions() -> None:
    assert most(step_places(50), B) == 40
    assert most(step_places(100), B) == 20


def test_an_engine_that_plans_a_step_ahead_gets_one_more() -> None:
    places = StepPlaces(1000, 128, steps=3)
    places.answered(B, 50)
    assert most(places, B) == 60
    assert most(places, I) == 15


def test_interactive_questions_have_places_that_batch_cannot_take() -> None:
    places = step_places(50)
    assert most(places, I, beside=most(places, B)) == 15


@given(st.floats(1, 5000), st.floats(1, 5000), st.integers(1, 512))
def test_interactive_questions_never_fill_a_step_while_batch_wants_it(
    robots: float, learners: float, sequences: int
) -> None:
    places = step_places(learners, sequences=sequences)
    places.answered(I, robots)
    several = most(places, I) if most(places, I) > 1 else 0
    assert several * robots < 1000
    assert most(places, B) >= 1
    assert most(places, I) >= 1


def test_alone_interactive_questions_get_as_much_as_batch_does() -> None:
    assert most(step_places(50), I, contended=False) == 40


def test_models_that_write_take_all_sequences_and_leave_some_to_robots() -> None:
    # A hundred tokens of prompt and as many written are two a step.
    places = step_places(2)
    assert most(places, B) == 96
    assert most(places, I, beside=96) == 32


def test_the_size_of_a_question_is_learned_from_answers_of_its_class() -> None:
    places = step_places(50)
    for _ in range(60):
        places.answered(I, 500)
    assert most(places, I) == 1
    assert most(places, B) == 40
    for _ in range(60):
        places.answered(B, 500)
    assert most(places, B) in (3, 4)


def test_before_any_answer_the_sequences_are_the_bound() -> None:
    assert most(StepPlaces(1000, 128), B) == 96


@pytest.mark.parametrize("places", [1, 2, 3, 4, 32])
def test_fixed_places_are_never_exceeded_and_none_takes_them_all_from_batch(places: int) -> None:
    fixed = FixedPlaces(places)
    whole = max(2, places)
    assert most(fixed, B) == whole
    assert most(fixed, I, contended=False) == whole
    assert 1 <= most(fixed, I) < whole
    assert most(fixed, I, beside=whole) == 0
