"""Labels that what was written did not tell apart: asked about where that can be, else counted."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from lrm_server.engine.chat.completions import Completion
from lrm_server.engine.chat.label_walk import Branch, LabelBytes, Walk, walk
from lrm_server.errors import DomainError, ErrorCode

WORTH_ASKING = 1e-4
"""Less probable branches are not asked about; they count as mass outside the labels."""
UNRESOLVED_SHARE = 0.05
"""The most of the labels' mass that may lie on labels that could not be told apart."""


async def resolve(
    labels: LabelBytes, read: Walk, continued: Callable[[str], Awaitable[Completion]]
) -> None:
    """Asks the endpoint to go on from beginnings whose labels were not told apart.

    It ends: each beginning is asked about once, and labels have few.

    Args:
        labels: of the question.
        read: what was read so far, to which the answers are added.
        continued: lets the model go on from a label's beginning.
    """
    known: set[bytes] = set()
    while True:
        branches = _merged(read.branches, labels)
        pending = [
            each
            for each in branches
            if math.exp(each.logprob) >= WORTH_ASKING
            and each.written not in known
            and _is_text(each.written)
        ]
        known.update(each.written for each in pending)
        read.branches = [each for each in branches if each not in pending]
        if not pending:
            return
        answers = await asyncio.gather(*(continued(each.written.decode()) for each in pending))
        for branch, answer in zip(pending, answers, strict=True):
            walk(labels, answer.positions, read, written=branch.written, logprob=branch.logprob)


def settled(read: Walk, top: int) -> tuple[float, ...]:
    """The labels' log-probabilities, if what is unknown of them does not matter.

    Args:
        read: all that was read.
        top: how many alternatives the endpoint lists.

    Raises:
        DomainError: LABEL_MASS_LOW when no label was listed at all; ANSWER_NOT_REACHED
            when too much lies on labels that were not told apart.
    """
    mass, unresolved = sum(read.shares), read.unresolved
    if mass == 0.0 and not read.branches:
        raise DomainError(
            ErrorCode.LABEL_MASS_LOW,
            f"none of the labels is among the {top} most probable tokens that the endpoint lists: "
            "the model was not answering the question.",
        )
    if unresolved > max(WORTH_ASKING, UNRESOLVED_SHARE * (mass + unresolved)):
        beginning = max(read.branches, key=lambda branch: branch.logprob)
        raise DomainError(
            ErrorCode.ANSWER_NOT_REACHED,
            f"the endpoint gave {math.exp(beginning.logprob):.2f} of its probability to answers "
            f"that begin with {beginning.written.decode(errors='replace')!r}, which several labels "
            "do, and does not tell which: use the readout generate, or an endpoint that continues "
            "an assistant's message.",
        )
    return read.logprobs()


def _merged(branches: list[Branch], labels: LabelBytes) -> list[Branch]:
    """Branches by the whole beginning that their labels share; equal ones are one."""
    found: dict[bytes, float] = {}
    for branch in branches:
        whole = labels.common_beginning(labels.fitting(branch.written))
        text = whole if whole.startswith(branch.written) else branch.written
        found[text] = found.get(text, 0.0) + math.exp(branch.logprob)
    return [Branch(text, math.log(share)) for text, share in found.items() if share > 0]


def _is_text(written: bytes) -> bool:
    """A beginning may end within a character, where no message can end."""
    try:
        written.decode()
    except UnicodeDecodeError:
        return False
    return True
