"""How much of what was submitted may be pending, and how a submission waits for room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, fields
from threading import Condition
from typing import Final, NamedTuple

from lrm_client.frames import EncodedFrame

MAX_IN_FLIGHT_QUERIES: Final = 4096
MAX_IN_FLIGHT_BYTES: Final = 256 * 1024 * 1024
MAX_IN_FLIGHT_STEPS: Final = 4096


class Load(NamedTuple):
    """What one submission adds to what is pending."""

    queries: int
    bytes: int
    steps: int = 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may be pending.

    Attributes:
        queries: one for each head of each environment that is asked.
        bytes: of encoded frames.
        steps: submitted steps and resets, also those that ask nothing.

    Raises:
        TypeError: a bound that is no integer.
        ValueError: a bound below 1.
    """

    queries: int = MAX_IN_FLIGHT_QUERIES
    bytes: int = MAX_IN_FLIGHT_BYTES
    steps: int = MAX_IN_FLIGHT_STEPS

    def __post_init__(self) -> None:
        for field in fields(self):
            bound = getattr(self, field.name)
            name = f"max_in_flight_{field.name}"
            if isinstance(bound, bool) or not isinstance(bound, int):
                raise TypeError(f"{name} must be an integer, not {bound!r}")
            if bound < 1:
                raise ValueError(f"{name} must be at least 1, not {bound}")


class InFlight:
    """What is pending.

    A load that is larger than a bound by itself is let in when nothing of its kind is
    pending, so that it goes alone instead of never.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = Load(bounds.queries, bounds.bytes, bounds.steps)
        self._used = Load(0, 0, 0)

    def has_room(self, load: Load) -> bool:
        """Whether the load may join what is pending."""
        return all(
            not (used and added) or used + added <= bound
            for used, added, bound in zip(self._used, load, self._bounds, strict=True)
        )

    def enter(self, load: Load) -> None:
        """Counts the load as pending."""
        self._used = Load(*(used + added for used, added in zip(self._used, load, strict=True)))

    def leave(self, load: Load) -> None:
        """Counts the load as pending no more."""
        self._used = Load(*(used - ended for used, ended in zip(self._used, load, strict=True)))


class Room:
    """Lets threads wait until there is room."""

    def __init__(self, bounds: Bounds) -> None:
        self._in_flight = InFlight(bounds)
        self._changed = Condition()

    def acquire(self, load: Load) -> None:
        """Waits until the load has room, and takes it."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight.has_room(load))
            self._in_flight.enter(load)

    def release(self, load: Load) -> None:
        """Gives the load's room back."""
        with self._changed:
            self._in_flight.leave(load)
            self._changed.notify_all()


class AsyncRoom:
    """Lets tasks of one event loop wait until there is room."""

    def __init__(self, bounds: Bounds) -> None:
        self._in_flight = InFlight(bounds)
        self._changed = asyncio.Event()

    async def acquire(self, load: Load) -> None:
        """Waits until the load has room, and takes it."""
        while not self._in_flight.has_room(load):
            self._changed.clear()
            await self._changed.wait()
        self._in_flight.enter(load)

    def release(self, load: Load) -> None:
        """Gives the load's room back."""
        self._in_flight.leave(load)
        self._changed.set()


def size(frames: Iterable[EncodedFrame]) -> int:
    """The frames' bytes."""
    return sum(len(frame.data) for frame in frames)
