"""What the server's answer to a step means for the client's clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lrm_client.clock import Source
from lrm_client.errors import LrmError, ServerError
from lrm_client.types import HeadAnswer, Reply, StepReply


class Answer(NamedTuple):
    """The outcomes of a step's queries.

    Attributes:
        values: by queried head; None where it failed.
        replies: by head that answered.
        errors: by head that failed.
        taken: whether the server took the step as the client's clock did. Where it did
            not, or may not have, the next step is forced.
    """

    values: dict[str, float | None]
    replies: dict[str, Reply]
    errors: dict[str, LrmError]
    taken: bool


def read_answer(
    heads: Sequence[str], due: Sequence[str], answer: StepReply | LrmError | None
) -> Answer:
    """The outcomes that an answer holds for the heads, of which some are due."""
    if isinstance(answer, LrmError):
        return Answer(dict.fromkeys(due), {}, dict.fromkeys(due, answer), False)
    given: Mapping[str, HeadAnswer] = {} if answer is None else answer.rewards
    read = Answer({}, {}, {}, all(_was_queried(given.get(head)) for head in due))
    for name in heads:
        head = given.get(name)
        if head is not None and _was_queried(head):
            _add_outcome(read, head)
        elif name in due:
            read.values[name] = None
            read.errors[name] = ServerError(f"the server did not query {name}, which is due")
    return read


def _was_queried(head: HeadAnswer | None) -> bool:
    return head is not None and head.source in (Source.QUERIED, Source.FAILED)


def _add_outcome(read: Answer, head: HeadAnswer) -> None:
    value = head.value
    if head.source is Source.FAILED or value is None:
        read.values[head.head] = None
        read.errors[head.head] = head.error or ServerError("the server named no cause")
    elif not math.isfinite(value):
        read.values[head.head] = None
        read.errors[head.head] = ServerError(f"the server gave the value {value}")
    else:
        read.values[head.head] = value
        if head.reply is not None:
            read.replies[head.head] = head.reply
