"""How many questions are let in, and for how long they are wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lrm_server.errors import DomainError, ErrorCode


class Admission:
    """A bounded number of questions at once; those beyond it are refused before any work.

    The hint of when to come back is how long the questions that are in take at
    the pace of late, measured over the last answers.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._pace: float | None = None
        self._last_done: float | None = None

    @property
    def inside(self) -> int:
        """Questions that are let in and not yet answered."""
        return self._inside

    @asynccontextmanager
    async def enter(self, deadline: float | None) -> AsyncIterator[None]:
        """Holds a place until the block ends; the deadline cancels the block.

        Args:
            deadline: time.monotonic() seconds, or None.

        Raises:
            DomainError: OVERLOADED with a hint, or DEADLINE_EXCEEDED.
        """
        self.check_deadline(deadline)
        if self._inside >= self._limit:
            raise DomainError(
                ErrorCode.OVERLOADED,
                f"{self._inside} questions are being answered and the limit is {self._limit}: "
                "send fewer at once, wait, or raise max_queue.",
                retry_after_seconds=self._wait_hint(),
            )
        self._inside += 1
        try:
            if deadline is None:
                yield
            else:
                left = deadline - time.monotonic()
                async with asyncio.timeout(left) as limit:
                    yield
        except TimeoutError:
            if deadline is not None and limit.expired():
                raise _too_late() from None
            raise
        finally:
            self._inside -= 1
            self._note_done()

    @staticmethod
    def check_deadline(deadline: float | None) -> None:
        """Raises DEADLINE_EXCEEDED when nobody waits any more."""
        if deadline is not None and time.monotonic() >= deadline:
            raise _too_late()

    def _note_done(self) -> None:
        now = time.monotonic()
        if self._last_done is not None and self._inside > 0:
            gap = now - self._last_done
            self._pace = gap if self._pace is None else 0.95 * self._pace + 0.05 * gap
        self._last_done = now

    def _wait_hint(self) -> float:
        seconds = self._inside * (self._pace or 0.01)
        return round(min(max(seconds, 0.05), 30.0), 3)


def _too_late() -> DomainError:
    return DomainError(
        ErrorCode.DEADLINE_EXCEEDED,
        "the deadline passed before the answer was there: allow more time, or send less at once.",
    )
