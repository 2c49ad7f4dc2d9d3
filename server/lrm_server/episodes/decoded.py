"""A bound on the pixels that steps hold decoded, whatever their images weigh as they travel."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeAlias

from lrm_server.callers import URGENT_SHARE, Priority, current_caller
from lrm_server.deadlines import within
from lrm_server.errors import DomainError
from lrm_server.frames import Frame

MAX_DECODED_BYTES: Final = 1024**3
_CHANNELS: Final = 3
_Waiter: TypeAlias = tuple[asyncio.Future[None], frozenset[Frame]]


class DecodedFrames:
    """Lets frames be decoded as long as their pixels together stay within a bound.

    A compressed image of some KiB may be tens of MiB of pixels, so what a batch weighs on
    the wire says little of what it weighs decoded. Whoever finds no room waits, robots
    before learners and otherwise in the order of coming; a frame that several hold counts
    once. Used from one event loop.

    Args:
        max_bytes: height x width x 3 of all frames that are held; an eighth more for
            robots, whom learners that hold it all would keep waiting. Frames that are over
            it by themselves are let in alone.
    """

    def __init__(self, max_bytes: int = MAX_DECODED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._holders: Counter[Frame] = Counter()
        self._waiting: dict[Priority, deque[_Waiter]] = {priority: deque() for priority in Priority}

    @property
    def held_bytes(self) -> int:
        """Bytes of pixels that frames may take now."""
        return self._held_bytes

    @contextlib.asynccontextmanager
    async def hold(
        self, frames: Iterable[Frame], deadline: float | None = None
    ) -> AsyncIterator[None]:
        """Waits for room; the pixels of the frames are released when their last holder leaves.

        A holder must not ask for more while it holds: it might wait for itself.

        Args:
            frames: which will be decoded before the block ends.
            deadline: time.monotonic() seconds after which it waits no more.

        Raises:
            DomainError: DEADLINE_EXCEEDED.
        """
        wanted = frozenset(frames)
        await self._enter(wanted, deadline)
        try:
            yield
        finally:
            self._leave(wanted)

    async def _enter(self, wanted: frozenset[Frame], deadline: float | None) -> None:
        priority = current_caller().priority
        urgent = priority is Priority.INTERACTIVE
        ahead = self._waiting[priority] if urgent else any(self._waiting.values())
        if not ahead and self._has_room(wanted, priority):
            self._take(wanted)
            return
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[priority].append((let_in, wanted))
        try:
            async with within(deadline):
                await let_in
        except (asyncio.CancelledError, DomainError):
            if let_in.cancelled():
                # Those behind may fit where this one did not.
                self._let_in()
            else:
                # Let in and cancelled at once: the room is there and nobody will use it.
                self._leave(wanted)
            raise

    def _leave(self, frames: frozenset[Frame]) -> None:
        self._holders.subtract(frames)
        for frame in frames:
            if self._holders[frame] == 0:
                del self._holders[frame]
                self._held_bytes -= _pixel_bytes(frame)
                frame.release()
        self._let_in()

    def _let_in(self) -> None:
        for priority, waiting in self._waiting.items():
            while waiting:
                let_in, wanted = waiting[0]
                if not let_in.cancelled():
                    if not self._has_room(wanted, priority):
                        return
                    self._take(wanted)
                    let_in.set_result(None)
                waiting.popleft()

    def _has_room(self, wanted: frozenset[Frame], priority: Priority) -> bool:
        more = sum(_pixel_bytes(frame) for frame in wanted if frame not in self._holders)
        wider = 1 + URGENT_SHARE if priority is Priority.INTERACTIVE else 1
        return self._held_bytes == 0 or self._held_bytes + more <= wider * self._max_bytes

    def _take(self, wanted: frozenset[Frame]) -> None:
        self._held_bytes += sum(
            _pixel_bytes(frame) for frame in wanted if frame not in self._holders
        )
        self._holders.update(wanted)


def _pixel_bytes(frame: Frame) -> int:
    return frame.height * frame.width * _CHANNELS
