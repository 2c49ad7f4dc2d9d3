"""What is given up when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from lrm_server.errors import DomainError, ErrorCode


def within(deadline: float | None) -> AbstractAsyncContextManager[None]:
    """Cancels the block at a deadline.

    Args:
        deadline: time.monotonic() seconds, which are the event loop's; None for no deadline.

    Raises:
        DomainError: DEADLINE_EXCEEDED.
    """
    return _Within(deadline)


def check(deadline: float | None) -> None:
    """Raises DEADLINE_EXCEEDED when nobody waits any more."""
    if deadline is not None and time.monotonic() >= deadline:
        raise _too_late()


def _too_late() -> DomainError:
    return DomainError(
        ErrorCode.DEADLINE_EXCEEDED,
        "the deadline passed before the answer was there: allow more time, or send less at once.",
    )


class _Within(AbstractAsyncContextManager[None]):
    """Not a generator: every question passes several of them, and each would cost twice as much."""

    __slots__ = ("_limit",)

    def __init__(self, deadline: float | None) -> None:
        self._limit = asyncio.timeout_at(deadline)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, where)
        except TimeoutError:
            raise _too_late() from None
