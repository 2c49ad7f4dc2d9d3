"""What waits, in classes and, within a class, fair between clients. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class FairQueue(Generic[Item]):
    """Clients take turns, an item each; the items of one client keep their order.

    While two clients have items waiting, neither gets more than one ahead of the other.
    Only clients with items are held, and every operation takes constant time.
    """

    def __init__(self) -> None:
        self._turns: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, client: str, item: Item) -> None:
        """Adds an item; a client that had none is last in turn."""
        self._turns.setdefault(client, OrderedDict())[item] = None
        self._length += 1

    def pop(self) -> Item:
        """Takes the next item of the client whose turn it is.

        Raises:
            KeyError: nothing waits.
        """
        client, items = self._turns.popitem(last=False)
        item, _ = items.popitem(last=False)
        if items:
            self._turns[client] = items
        self._length -= 1
        return item

    def discard(self, client: str, item: Item) -> None:
        """Takes an item out, if it is there."""
        items = self._turns.get(client)
        if items is None or item not in items:
            return
        del items[item]
        if not items:
            del self._turns[client]
        self._length -= 1
