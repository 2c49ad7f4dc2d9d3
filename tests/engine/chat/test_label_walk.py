"""What the listed tokens tell of labels."""

from __future__ import annotations

import math

import pytest

from lrm_server.engine.chat.completions import Position
from lrm_server.engine.chat.label_walk import LabelBytes, Walk, walk
from lrm_server.engine.protocol import AnswerForm
from tests.engine.chat.forms import COMPLETION, PROGRESS, SCORE, SIDES


def position(token: str, **shares: float) -> Position:
    return at(token, shares)


def at(token: str, shares: dict[str, float]) -> Position:
    return Position(
        token.encode(), {text.encode(): math.log(share) for text, share in shares.items()}
    )


def read(form: AnswerForm, *positions: Position, lead: str = "") -> tuple[dict[str, float], Walk]:
    labels = LabelBytes(form)
    found = Walk([0.0] * len(labels))
    walk(labels, positions, found, lead=lead.encode())
    shares = {label: share for label, share in zip(form.labels, found.shares, strict=True) if share}
    return shares, found


def test_labels_of_one_token_are_read_from_one_list() -> None:
    shares, found = read(COMPLETION, position("yes", yes=0.7, no=0.2, maybe=0.1))
    assert shares == pytest.approx({"yes": 0.7, "no": 0.2})
    assert not found.branches


def test_what_is_not_listed_counts_as_nothing() -> None:
    shares, found = read(COMPLETION, position("yes", yes=0.6))
    assert shares == pytest.approx({"yes": 0.6})
    assert found.logprobs()[0] == -math.inf


def test_stages_are_told_apart_by_the_digit_after_the_point() -> None:
    shares, found = read(
        PROGRESS,
        at("0", {"0": 0.8, "1": 0.1, "The": 0.1}),
        at(".", {".": 0.9, " }": 0.1}),
        at("7", {"7": 0.5, "6": 0.25, "x": 0.25}),
    )
    # Between the first digit and the next nothing is decided: the point is certain.
    assert shares == pytest.approx({"0.7": 0.4, "0.6": 0.2, "1.0": 0.1})
    assert not found.branches


def test_a_beginning_that_was_not_written_is_left_open() -> None:
    shares, found = read(PROGRESS, at("1", {"1": 0.6, "0": 0.3, "0.2": 0.1}))
    assert shares == pytest.approx({"1.0": 0.6, "0.2": 0.1})
    (branch,) = found.branches
    assert (branch.written, math.exp(branch.logprob)) == (b"0", pytest.approx(0.3))
    assert found.unresolved == pytest.approx(0.3)


def test_a_text_that_ends_too_early_leaves_its_beginning_open() -> None:
    shares, found = read(PROGRESS, at("0", {"0": 0.8, "1": 0.2}))
    assert shares == pytest.approx({"1.0": 0.2})
    assert found.unresolved == pytest.approx(0.8)


def test_a_text_that_leaves_the_labels_leaves_its_beginning_open() -> None:
    _, found = read(
        PROGRESS, at("0", {"0": 0.9}), at("%", {"%": 0.7, ".": 0.3}), at("7", {"7": 1.0})
    )
    assert found.unresolved == pytest.approx(0.9)


def test_a_label_that_begins_another_is_told_apart_by_what_closes_it() -> None:
    shares, _ = read(
        SIDES,
        at("up", {"up": 0.9, "left": 0.1}),
        at('"', {'"': 0.6, "ward": 0.3, "side": 0.1}),
    )
    assert shares == pytest.approx({"up": 0.54, "upward": 0.27})


def test_a_longer_number_is_not_the_label_that_it_begins_with() -> None:
    shares, _ = read(SCORE, at("5", {"5": 0.5, "10": 0.3, "1.5": 0.1, "3.": 0.05, "2\nfine": 0.05}))
    assert shares == pytest.approx({"5": 0.5, "3": 0.05, "2": 0.05})


def test_white_space_and_a_quote_in_the_labels_token_are_no_part_of_it() -> None:
    shares, _ = read(
        COMPLETION, at(' "yes', {' "yes': 0.5, '"no': 0.2, ' "no"}': 0.2, "yes": 0.1}), lead=' "'
    )
    assert shares == pytest.approx({"yes": 0.5, "no": 0.4})


def test_a_space_that_the_template_cut_is_read_over() -> None:
    shares, _ = read(
        COMPLETION, at(" ", {" ": 0.5, " no": 0.3, "\n": 0.2}), at("yes", {"yes": 0.8, "no": 0.2})
    )
    assert shares == pytest.approx({"yes": 0.4, "no": 0.4})


def test_tokens_without_text_are_no_beginning_of_anything() -> None:
    shares, found = read(COMPLETION, at("", {"": 0.9, "yes": 0.1}))
    assert shares == pytest.approx({"yes": 0.1})
    assert not found.branches


def test_a_character_in_two_tokens_is_still_read() -> None:
    form = AnswerForm(prefix="", labels=("é", "è"), terminator="", max_tokens=4)
    first = Position(b"\xc3", {b"\xc3": math.log(0.9)})
    second = Position(b"\xa9", {b"\xa9": math.log(0.5), b"\xa8": math.log(0.5)})
    shares, _ = read(form, first, second)
    assert shares == pytest.approx({"é": 0.45, "è": 0.45})


@pytest.mark.parametrize(
    ("form", "length"), [(COMPLETION, 1), (PROGRESS, 3), (SIDES, 6), (SCORE, 1)]
)
def test_how_much_must_be_written_to_tell_labels_apart(form: AnswerForm, length: int) -> None:
    assert LabelBytes(form).deciding_length == length
