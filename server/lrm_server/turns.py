"""Much work on the event loop, with turns for others in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

AT_ONCE: Final = 16
"""Beginning a step of an episode with three heads takes a quarter of a millisecond: so many hold
the loop for less than a step of the engine lasts, and a robot's request comes in between."""


async def gently(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with a turn of the event loop after every few."""
    for number, item in enumerate(items, 1):
        yield item
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
