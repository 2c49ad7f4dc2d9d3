"""Where the label stands in an answer that the model wrote by itself. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrm_server.engine.protocol import AnswerForm
from lrm_server.errors import DomainError, ErrorCode


@dataclass(frozen=True, slots=True)
class Slot:
    """The answer slot in a written text.

    Attributes:
        token: which token the label begins in.
        lead: what that token holds before the label.
        before: all that was written before the label.
        reasoning: what was written before the answer.
    """

    token: int
    lead: bytes
    before: str
    reasoning: str


def find_slot(tokens: Sequence[bytes], form: AnswerForm) -> Slot:
    """The slot after the last place where the model wrote what comes before a label.

    What must be spelled so is the form's ``stop``; of the rest of the prefix (a quote)
    white space may differ.

    Raises:
        DomainError: ANSWER_NOT_REACHED when it did not come to its answer.
    """
    text = b"".join(tokens)
    rest = form.prefix.partition(form.stop)[2] if form.stop else ""
    stop = form.stop.encode()
    at = text.rfind(stop) if stop else 0
    place = _after(text, at + len(stop), rest.encode()) if at >= 0 else None
    if place is None or place >= len(text):
        raise DomainError(
            ErrorCode.ANSWER_NOT_REACHED,
            f"the model did not come to {form.stop!r} and a label within {form.max_tokens} tokens; "
            f"it ended with {text[-80:].decode(errors='replace')!r}. Use a model that answers in "
            "this form, or the readout generate.",
        )
    start = 0
    for number, token in enumerate(tokens):
        if start + len(token) > place:
            return Slot(
                number,
                text[start:place],
                text[:place].decode(errors="replace"),
                text[:at].decode(errors="replace").rstrip("{ \n"),
            )
        start += len(token)
    raise AssertionError("a place within the text lies within one of its tokens")


def _after(text: bytes, place: int, rest: bytes) -> int | None:
    """The place after ``rest``, white space aside; None when something else stands there."""
    for piece in rest.split():
        place = _skip_space(text, place)
        if not text.startswith(piece, place):
            return None
        place += len(piece)
    ends_in_space = not rest.strip() or rest[-1:].isspace()
    return _skip_space(text, place) if ends_in_space else place


def _skip_space(text: bytes, place: int) -> int:
    while text[place : place + 1].isspace():
        place += 1
    return place
