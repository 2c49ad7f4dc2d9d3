"""When a call that found the server unavailable is tried again.

The same for both transports. gRPC's own retry policy is not used: a wait of few
milliseconds can hang it until the deadline, it waits for attempts that lie beyond the
deadline, and it then tells of a time-out instead of the cause.
"""

from __future__ import annotations

import random
import time

from lrm_client.connection import Retry
from lrm_client.wire.reward_pb2 import Problem


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
        if problem.code != "unavailable":
            return None
        self._failures += 1
        if self._failures >= self._retry.attempts:
            return None
        # Full jitter: clients that lost one server together do not come back together.
        wait = random.uniform(0.0, self._retry.bound(self._failures))  # noqa: S311
        if problem.HasField("retry_after_seconds"):
            wait = max(wait, problem.retry_after_seconds)
        # A wait that outlasts the deadline would turn the cause into a mere time-out.
        return wait if wait < self.remaining() else None


def too_late() -> Problem:
    """What becomes of a request whose deadline passed before it could be sent."""
    message = "the deadline passed before the request could be sent"
    return Problem(code="deadline_exceeded", message=message)
