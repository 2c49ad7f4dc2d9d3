"""Much work on the event loop, with turns for others in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

AT_ONCE: Final = 4
"""Beginning a step of an episode takes up to half a millisecond, and a robot's request and its
answer need some ten turns of the loop: so they lose some 20 ms to a learner's, and not 80."""


async def gently(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with a turn of the event loop after every few."""
    for number, item in enumerate(items, 1):
        yield item
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
