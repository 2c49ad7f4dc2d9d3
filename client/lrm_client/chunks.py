"""How many items go into one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

MAX_ITEMS: Final = 4096
"""Episodes or steps, and so frames, in one request: what a server takes by default."""

ItemT = TypeVar("ItemT")


class Chunks(Generic[ItemT]):
    """Cuts items into chunks that fit one request each.

    Args:
        max_bytes: of one request.
        max_items: of one request.
    """

    def __init__(self, max_bytes: int, max_items: int = MAX_ITEMS) -> None:
        self._max_bytes = max_bytes
        self._max_items = max_items
        self._items: list[ItemT] = []
        self._parts: dict[object, int] = {}
        self._bytes = 0

    def cut(
        self, groups: Sequence[Sequence[tuple[ItemT, Mapping[object, int]]]]
    ) -> Iterator[list[ItemT]]:
        """The chunks, in order. A group is cut only where it does not fit by itself.

        Args:
            groups: items that belong together, in their order, each with the bytes of what
                it sends by the identity of the part: a part that several items share is
                sent once. An item that fits no request is a chunk by itself.
        """
        for group in groups:
            together: dict[object, int] = {}
            for _, parts in group:
                together.update(parts)
            if not self._fits(len(group), together):
                yield from self._finish()
            for item, parts in group:
                if not self._fits(1, parts):
                    yield from self._finish()
                self._bytes += self._added(parts)
                self._parts.update(parts)
                self._items.append(item)
        yield from self._finish()

    def _added(self, parts: Mapping[object, int]) -> int:
        return sum(size for part, size in parts.items() if part not in self._parts)

    def _fits(self, count: int, parts: Mapping[object, int]) -> bool:
        return (
            len(self._items) + count <= self._max_items
            and self._bytes + self._added(parts) <= self._max_bytes
        )

    def _finish(self) -> Iterator[list[ItemT]]:
        if self._items:
            yield self._items
        self._items, self._parts, self._bytes = [], {}, 0
