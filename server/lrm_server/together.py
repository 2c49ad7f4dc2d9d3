"""Several things awaited at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order; the first failure is raised.

    One alone, which is the rule where a question has one part, runs in the caller's task: a
    task of its own would cost more than many a part does.
    """
    parts = list(work)
    if len(parts) == 1:
        return [await parts[0]]
    return await asyncio.gather(*parts)
