"""When a call that found the server unavailable or full is tried again.

The same for both transports. gRPC's own retry policy is not used: a wait of few
milliseconds can hang it until the deadline, it waits for attempts that lie beyond the
deadline, and it then tells of a time-out instead of the cause.
"""

from __future__ import annotations

import random
import time
from typing import Final

from lrm_client.connection import Retry
from lrm_client.wire.reward_pb2 import Problem

RETRIED: Final = frozenset({"unavailable", "overloaded"})
"""Codes of calls of which nothing was done."""


def spread(bound: float, told: float | None) -> float:
    """Seconds to wait: drawn at random, so that clients do not come back together.

    Args:
        bound: seconds below which they are drawn where the server says nothing.
        told: when to come back, as the server said. Nobody does so before; the clients that
            were told so together spread over as long again.
    """
    if told is None:
        return random.uniform(0.0, bound)  # noqa: S311
    return told + random.uniform(0.0, max(bound, told))  # noqa: S311


class Attempts:
    """The attempts at one request, which share one deadline on the monotonic clock."""

    def __init__(self, retry: Retry, deadline: float) -> None:
        self._retry = retry
        self._deadline = deadline
        self._failures = 0

    def remaining(self) -> float:
        """Seconds until the deadline; none or less when it passed."""
        return self._deadline - time.monotonic()

    def wait_after(self, problem: Problem) -> float | None:
        """Seconds to wait before the next attempt; None when the problem stands."""
        if problem.code not in RETRIED:
            return None
        self._failures += 1
        if self._failures >= self._retry.attempts:
            return None
        told = problem.retry_after_seconds if problem.HasField("retry_after_seconds") else None
        wait = spread(self._retry.bound(self._failures), told)
        # A wait that outlasts the deadline would turn the cause into a mere time-out.
        return wait if wait < self.remaining() else None


def too_late() -> Problem:
    """What becomes of a request whose deadline passed before it could be sent."""
    message = "the deadline passed before the request could be sent"
    return Problem(code="deadline_exceeded", message=message)
