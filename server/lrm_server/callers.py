"""On whose behalf the current task asks, and how urgently.

The API says it once for each request; whoever queues questions reads it. Tasks that a
task begins inherit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Priority(str, Enum):
    """How urgently an answer is wanted."""

    INTERACTIVE = "interactive"
    """By somebody who acts on it at once, such as a robot."""
    BATCH = "batch"
    """By somebody who wants many, such as a learner."""


URGENT_SHARE: Final = 0.125
"""Of the server's bounds, on top of them, for urgent questions."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: tells callers apart; "" for the server itself.
        priority: of what it asks.
    """

    name: str
    priority: Priority = Priority.BATCH


SERVER: Final = Caller("")
"""The server itself, which tries its engine out."""

_caller: ContextVar[Caller] = ContextVar("lrm_caller", default=SERVER)


def current_caller() -> Caller:
    """Who asks in the current task."""
    return _caller.get()


def ask_for(caller: Caller) -> None:
    """What the current task asks from now on, and tasks begun by it, is this caller's."""
    _caller.set(caller)


@contextmanager
def asks(caller: Caller) -> Iterator[None]:
    """What is asked within the block, and in tasks begun there, is this caller's."""
    before = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(before)
