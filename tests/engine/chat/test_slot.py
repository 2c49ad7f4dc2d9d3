"""Where the label stands in what a model wrote by itself."""

from __future__ import annotations

import pytest

from lrm_server.engine.chat.slot import find_slot
from lrm_server.errors import DomainError, ErrorCode
from tests.engine.chat.forms import COMPLETION, PROGRESS, SCORE


def tokens(*written: str) -> list[bytes]:
    return [token.encode() for token in written]


def test_the_label_begins_after_the_key() -> None:
    slot = find_slot(
        tokens("It moved. ", '{ "completion', '_progress": ', "0", ".7", " }"), PROGRESS
    )
    assert (slot.token, slot.lead) == (3, b"")
    assert slot.before == 'It moved. { "completion_progress": '
    assert slot.reasoning == "It moved."


def test_a_token_may_hold_more_than_the_label() -> None:
    slot = find_slot(tokens('{"task_completed":', ' "yes', '"}'), COMPLETION)
    assert (slot.token, slot.lead) == (1, b' "')


def test_the_last_answer_counts() -> None:
    slot = find_slot(tokens("ANSWER: ", "2", " no, ", "ANSWER:", " 4"), SCORE)
    assert slot.token == 4


@pytest.mark.parametrize(
    "written",
    [
        ["No idea."],
        ['{"task_completed":'],
        ['{"task_completed": "'],
        ['{"task_completed":', " yes}"],
        [],
    ],
)
def test_an_answer_in_another_form_is_not_guessed_at(written: list[str]) -> None:
    with pytest.raises(DomainError) as error:
        find_slot(tokens(*written), COMPLETION)
    assert error.value.code is ErrorCode.ANSWER_NOT_REACHED
