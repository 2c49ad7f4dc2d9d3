"""Waiting for a place in a full engine, for callers that cannot be told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from lrm_server.errors import DomainError, ErrorCode

T = TypeVar("T")

FULL_SECONDS: Final = 0.1
"""When a full engine is asked again that does not say when."""


@dataclass(frozen=True, slots=True)
class _Full:
    """The engine is full; ``seconds`` from now is a good time to ask again."""

    seconds: float


async def when_there_is_room(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again whenever the engine's hint says so, for as long as it is full.

    It does not end by itself: the caller has a deadline.

    Raises:
        DomainError: whatever ``ask`` raises but OVERLOADED.
    """
    while isinstance(outcome := await _asked(ask), _Full):
        await asyncio.sleep(outcome.seconds)
    return outcome


async def _asked(ask: Callable[[], Awaitable[T]]) -> T | _Full:
    try:
        return await ask()
    except DomainError as error:
        if error.code is not ErrorCode.OVERLOADED:
            raise
        return _Full(error.retry_after_seconds or FULL_SECONDS)
