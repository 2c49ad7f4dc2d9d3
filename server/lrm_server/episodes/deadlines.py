"""What is given up when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lrm_server.errors import DomainError, ErrorCode


@asynccontextmanager
async def within(deadline: float | None) -> AsyncIterator[None]:
    """Cancels the block at a deadline.

    Args:
        deadline: time.monotonic() seconds; None for no deadline.

    Raises:
        DomainError: DEADLINE_EXCEEDED.
    """
    left = None if deadline is None else deadline - time.monotonic()
    limit = asyncio.timeout(left)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DomainError(
            ErrorCode.DEADLINE_EXCEEDED,
            "the deadline passed before the answer was there: allow more time, or send less at "
            "once.",
        ) from None
