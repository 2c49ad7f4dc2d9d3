"""When a call came, and how long it may take."""

from __future__ import annotations

import math
import time
from typing import Final

ANSWER_SHARE: Final = 0.1
MOST_ANSWER_SECONDS: Final = 1.0
"""Of the time that a caller waits, the last tenth, and at most this, is for the answer."""
LATE_SECONDS: Final = 1.0
"""How long after the server's own limit a batch may still name what became of its items."""


class Arrival:
    """When a call came, until when it is worked on, and until when it is answered.

    Work ends before its caller stops waiting. At the caller's own deadline an answer comes
    too late to be seen: a batch in which one item is slow would fail as a whole at the
    caller, although the server took the others. So the last part of the caller's time is
    left to tell what became of each item.

    Attributes:
        at: time.monotonic() seconds.
        deadline: time.monotonic() seconds after which nothing is worked on.
        end: time.monotonic() seconds by which the call is answered.
    """

    __slots__ = ("at", "deadline", "end")

    def __init__(
        self,
        limit_seconds: float,
        caller_seconds: float | None = None,
        *,
        at: float | None = None,
    ) -> None:
        """The caller's time counts where it ends before the server's own limit.

        Args:
            limit_seconds: longest that the server works on a call.
            caller_seconds: how long the caller waits; None when it did not say.
            at: time.monotonic() seconds from which both count; now when None.
        """
        self.at = time.monotonic() if at is None else at
        waits = math.inf if caller_seconds is None else max(0.0, caller_seconds)
        answering = min(MOST_ANSWER_SECONDS, ANSWER_SHARE * waits)
        self.deadline = self.at + min(limit_seconds, waits - answering)
        self.end = min(self.deadline + LATE_SECONDS, self.at + waits)

    def elapsed_ms(self) -> float:
        """Milliseconds since the call came."""
        return 1000.0 * (time.monotonic() - self.at)

    def remaining(self) -> float:
        """Seconds until the deadline, never below 0."""
        return max(0.0, self.deadline - time.monotonic())

    def remaining_to_answer(self) -> float:
        """Seconds until the call must be answered, never below 0."""
        return max(0.0, self.end - time.monotonic())
