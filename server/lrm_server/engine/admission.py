"""The queue before an engine: bounded, fair between clients, urgent questions first."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from lrm_server import deadlines
from lrm_server.callers import Caller, Priority, current_caller
from lrm_server.engine.fair_queue import FairQueue
from lrm_server.engine.holdings import DEFAULT_LIMITS, Excess, Holdings, QueueLimits
from lrm_server.engine.pace import Pace
from lrm_server.engine.places import Places
from lrm_server.engine.protocol import EngineStatus
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Frame

_SHORTEST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 30.0


class Place:
    """A question's place: first in the queue, then past it.

    Attributes:
        caller: who asks.
        waited_ms: milliseconds in the queue.
    """

    __slots__ = ("_steps", "_tokens", "caller", "let_in", "waited_ms")

    def __init__(self, caller: Caller, let_in: asyncio.Future[None]) -> None:
        self.caller = caller
        self.let_in = let_in
        self.waited_ms = 0.0
        self._tokens = 0
        self._steps = 0

    def took(self, tokens: int, steps: int = 1) -> None:
        """Work that the engine did for it, so that the queue learns what fills a step.

        Args:
            tokens: computed, written ones included.
            steps: of the engine over which they were computed.
        """
        self._tokens += tokens
        self._steps += steps

    @property
    def tokens_a_step(self) -> float | None:
        """What it took of a step; None where nothing was computed for it."""
        return self._tokens / self._steps if self._tokens else None


class Admission:
    """Lets questions in while there is room, and past its queue as the engine takes them.

    Those for which there is no room are refused before any work, with a hint of when to come
    back. Those that are in wait, class by class, clients in turn; a question is prepared
    when its turn has come. Questions pass one by one, and what else the event loop has to do,
    such as taking in a robot's question, is done in between. Used from one event loop.

    Args:
        places: how many may be past the queue.
        limits: how many may be in.

    Attributes:
        holdings: what is in.
    """

    def __init__(self, places: Places, limits: QueueLimits = DEFAULT_LIMITS) -> None:
        self._places = places
        self.holdings = Holdings(limits)
        self._waiting: dict[Priority, FairQueue[Place]] = {
            priority: FairQueue() for priority in Priority
        }
        self._passed: Counter[Priority] = Counter()
        self._pace = Pace()
        self._passing = False

    @property
    def inside(self) -> int:
        """Questions that are let in and not yet answered."""
        return self.holdings.questions

    def status(self, reason: str = "") -> EngineStatus:
        """What the engine is doing; ``reason`` says why it cannot answer."""
        queued = {priority.value: len(queue) for priority, queue in self._waiting.items()}
        running = self._passed.total()
        return EngineStatus(not reason, reason, running, self.inside - running, queued=queued)

    @asynccontextmanager
    async def enter(
        self, deadline: float | None, frames: Sequence[Frame] = ()
    ) -> AsyncIterator[Place]:
        """Waits for the question's turn; it is in until the block ends.

        The deadline ends the wait as well as the block.

        Args:
            deadline: time.monotonic() seconds, or None.
            frames: that the question brings.

        Raises:
            DomainError: OVERLOADED with a hint, or DEADLINE_EXCEEDED.
        """
        deadlines.check(deadline)
        caller = current_caller()
        urgent = caller.priority is Priority.INTERACTIVE
        if excess := self.holdings.excess(caller.name, frames, urgent=urgent):
            raise self._refusal(excess)
        place = Place(caller, asyncio.get_running_loop().create_future())
        self.holdings.add(caller.name, frames)
        self._pace.busy()
        try:
            async with deadlines.within(deadline):
                await self._turn(place)
                yield place
            self._note_answer(place)
        finally:
            self._leave(place, frames)

    async def _turn(self, place: Place) -> None:
        began = time.monotonic()
        self._waiting[place.caller.priority].put(place.caller.name, place)
        self._pass_soon()
        await place.let_in
        place.waited_ms = 1000 * (time.monotonic() - began)

    def _pass_soon(self) -> None:
        if not self._passing:
            self._passing = True
            asyncio.get_running_loop().call_soon(self._pass_one)

    def _pass_one(self) -> None:
        """Lets the next question pass. The one after it passes in the loop's next turn."""
        self._passing = False
        for priority, queue in self._waiting.items():
            if not queue or not self._has_room(priority):
                continue
            place = queue.pop()
            # One that was just cancelled has not left yet.
            if not place.let_in.done():
                self._passed[priority] += 1
                place.let_in.set_result(None)
            self._pass_soon()
            return

    def _has_room(self, priority: Priority) -> bool:
        contended = bool(self._waiting[Priority.BATCH]) or self._passed[Priority.BATCH] > 0
        return self._places.has_room(priority, self._passed, contended=contended)

    def _leave(self, place: Place, frames: Sequence[Frame]) -> None:
        caller = place.caller
        if place.let_in.done() and not place.let_in.cancelled():
            self._passed[caller.priority] -= 1
        else:
            self._waiting[caller.priority].discard(caller.name, place)
        self.holdings.remove(caller.name, frames)
        if not self.holdings.questions:
            self._pace.idle()
        self._pass_soon()

    def _note_answer(self, place: Place) -> None:
        self._pace.answered()
        if place.tokens_a_step is not None:
            self._places.answered(place.caller.priority, place.tokens_a_step)

    def _refusal(self, excess: Excess) -> DomainError:
        # When half of what is ahead is answered there is room, and the engine still has work.
        seconds = excess.ahead / 2 * self._pace.seconds
        return DomainError(
            ErrorCode.OVERLOADED,
            excess.reason,
            retry_after_seconds=round(min(max(seconds, _SHORTEST_WAIT_S), _LONGEST_WAIT_S), 3),
        )
