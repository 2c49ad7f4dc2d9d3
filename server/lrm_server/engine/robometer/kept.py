"""What the heads said at tokens that were computed before, so that a prefix need not be again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from cachetools import LRUCache

Answers: TypeAlias = tuple[float, float, float]
"""Progress, success and preference at one token, in [0, 1]."""


class KeptAnswers:
    """The answers at the last ``capacity`` tokens that were read (some 300 bytes each).

    Used from one event loop. A prefix can be in the engine's cache before the
    request that computes it has answered: ``settled`` waits for such requests.
    """

    def __init__(self, capacity: int) -> None:
        self._answers: LRUCache[bytes, Answers] = LRUCache(capacity)
        self._computing: dict[bytes, list[asyncio.Event]] = {}

    def get(self, key: bytes) -> Answers | None:
        """The answers at a token, if they are still here."""
        return self._answers.get(key)

    def all_of(self, keys: Sequence[bytes]) -> list[Answers] | None:
        """The answers at tokens in order; None when one of them is not here."""
        found = [answer for key in keys if (answer := self._answers.get(key)) is not None]
        return found if len(found) == len(keys) else None

    def keep(self, answers: Mapping[bytes, Answers]) -> None:
        """Puts answers in; those that were not used for longest go."""
        self._answers.update(answers)

    @contextmanager
    def computing(self, keys: Collection[bytes]) -> Iterator[None]:
        """Says for as long as the block lasts that these may be computed; keep them inside it."""
        done = asyncio.Event()
        for key in keys:
            self._computing.setdefault(key, []).append(done)
        try:
            yield
        finally:
            done.set()
            for key in keys:
                waiting = self._computing[key]
                waiting.remove(done)
                if not waiting:
                    del self._computing[key]

    async def settled(self, keys: Collection[bytes]) -> None:
        """Waits until nobody who computes these now still does."""
        for event in {event for key in keys for event in self._computing.get(key, ())}:
            await event.wait()
