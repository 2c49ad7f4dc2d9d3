"""Every nth of items that come one by one, and the last of them."""

from __future__ import annotations

from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Thinning(Generic[ItemT]):
    """Takes items 0, n, 2n, ... and the last, of which none knows that it is the last.

    Args:
        every: n; at least 1.

    Attributes:
        count: items that came so far.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._held: tuple[int, ItemT] | None = None
        self.count = 0

    def take(self, item: ItemT) -> tuple[int, ItemT] | None:
        """The item with its number, from 0, when it is one of every nth; else None."""
        numbered = (self.count, item)
        self.count += 1
        if numbered[0] % self._every:
            self._held = numbered
            return None
        self._held = None
        return numbered

    def rest(self) -> tuple[int, ItemT] | None:
        """When no item comes any more: the last with its number, unless it was taken."""
        held, self._held = self._held, None
        return held
