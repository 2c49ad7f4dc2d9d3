"""Between a control loop and the thread that sends for it: the newest frame, the last answers.

One frame waits at most. A newer one replaces it, so that what is sent is never older than
it must be, and nothing queues up behind a slow server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Condition
from typing import NamedTuple

from lrm_client.clock import ClockConfig, ClockState, Source, advance, due_heads, open_clock
from lrm_client.episode_clocks import NOT_RESET
from lrm_client.errors import (
    EpisodeEnded,
    EpisodeNotFound,
    InvalidRequest,
    LrmError,
    Unauthenticated,
    UnknownHead,
)
from lrm_client.frames import FrameLike
from lrm_client.readings import SessionCounters
from lrm_client.rewards import HeadStep


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """An episode to be opened: its number in the session, its initial frame, its task."""

    episode: int
    frame: FrameLike
    task: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A wanted frame, when it was taken, and the tick of the episode that it belongs to."""

    episode: int
    tick: int
    taken_at: float
    frame: FrameLike
    final: bool


class Answered(NamedTuple):
    """A head's last answer, and the tick and the time of the frame that it judges."""

    tick: int
    taken_at: float
    step: HeadStep


class View(NamedTuple):
    """What the control loop sees at a tick; answers and errors by head."""

    tick: int
    answers: Mapping[str, Answered]
    errors: Mapping[str, LrmError]


class Newest:
    """What the two threads share.

    The lock is held for assignments and for the clock's arithmetic alone: never while a
    frame is copied or encoded, nor while a call is under way.

    Args:
        config: the episodes' clock.
        heads: the heads that are asked.
    """

    def __init__(self, config: ClockConfig, heads: Sequence[str]) -> None:
        self._config = config
        self._heads = tuple(heads)
        self._changed = Condition()
        self._episode = 0
        self._tick = 0
        self._ended = self._closed = self._busy = False
        self._clock: ClockState = NOT_RESET
        self._opening: Opening | None = None
        self._task: str | None = None
        self._waiting: Snapshot | None = None
        self._answers: Mapping[str, Answered] = {}
        self._errors: Mapping[str, LrmError] = {}
        self._counters = SessionCounters()

    # The control loop's side.

    def begin(self, frame: FrameLike, task: str | None) -> None:
        """Puts a new episode, to be opened, in the place of the one before.

        Raises:
            EpisodeNotFound: the session is closed.
        """
        with self._changed:
            self._check_open()
            self._drop()
            self._episode += 1
            self._tick, self._ended = 0, False
            # It holds from its reset on, also when that one's episode is never opened.
            self._task = self._task if task is None else task
            self._opening = Opening(self._episode, frame, self._task)
            # The real neutral values are the server's; when a step is due does not depend
            # on them.
            neutral = dict.fromkeys(self._heads, 0.0)
            self._clock, _ = advance(self._config, open_clock(neutral), 0)
            self._answers, self._errors = {}, {}
            self._changed.notify_all()

    def wait_open(self, seconds: float) -> tuple[bool, LrmError | None]:
        """Waits until the newest episode is open, or waiting longer is of no use.

        Returns:
            Whether it is open, and the error of the last attempt if it is not.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._opening is None or self._closed or self._hopeless(), seconds
            )
            return self._opening is None, next(iter(self._errors.values()), None)

    def wants(self, final: bool) -> bool:
        """Whether the next tick's frame is wanted, as far as the answers tell.

        Raises:
            EpisodeNotFound: there was no reset, or the session is closed.
            EpisodeEnded: the final tick was taken.
        """
        with self._changed:
            self._check_open()
            if self._episode == 0:
                raise EpisodeNotFound("the session has no episode: reset it before it observes")
            if self._ended:
                raise EpisodeEnded(
                    f"tick {self._tick} was the episode's final: reset the session before it "
                    "observes again"
                )
            return bool(due_heads(self._config, self._clock, self._tick + 1, final=final))

    def tick(self, taken_at: float, frame: FrameLike | None, final: bool) -> None:
        """Takes a tick; its frame, if any, is sent in the place of one that still waits."""
        with self._changed:
            self._tick += 1
            self._ended = final
            self._count(ticks=1)
            if frame is not None:
                self._drop()
                self._waiting = Snapshot(self._episode, self._tick, taken_at, frame, final)
                self._changed.notify_all()

    def wait_idle(self, seconds: float) -> None:
        """Waits until nothing is to be sent and no call is under way."""
        with self._changed:
            self._changed.wait_for(self._idle, seconds)

    def view(self) -> View:
        """The last answers of the newest episode."""
        with self._changed:
            return View(self._tick, self._answers, self._errors)

    def counters(self) -> SessionCounters:
        """What became of the frames so far; overruns are not known here."""
        with self._changed:
            return self._counters

    def close(self) -> None:
        """Ends the sending thread, after the call that is under way."""
        with self._changed:
            self._closed = True
            self._drop()
            self._changed.notify_all()

    # The sending thread's side.

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def next(self) -> Opening | Snapshot | None:
        """Waits for what is to be done; an opening before a frame. None once closed.

        An opening is given again until it is ``opened``.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._opening or self._waiting)
            if self._closed:
                return None
            self._busy = True
            if self._opening is not None or self._waiting is None:
                return self._opening
            snapshot, self._waiting = self._waiting, None
            # As if all will answer, until it is known: else every tick of a call that is
            # under way would be due.
            values = dict.fromkeys(self._heads, 0.0)
            self._clock, _ = advance(
                self._config, self._clock, snapshot.tick, values, final=snapshot.final
            )
            self._count(sent=1)
            return snapshot

    def opened(self, opening: Opening) -> None:
        """The episode is open."""
        with self._changed:
            self._busy = False
            if opening is self._opening:
                self._opening, self._errors = None, {}
            self._changed.notify_all()

    def not_opened(self, opening: Opening, error: LrmError) -> None:
        """The episode is not open yet."""
        with self._changed:
            self._busy = False
            if opening is self._opening:
                self._errors = dict.fromkeys(self._heads, error)
            self._changed.notify_all()

    def answered(
        self, snapshot: Snapshot, heads: Mapping[str, HeadStep], clock: ClockState
    ) -> None:
        """The heads' parts of the answer to a frame, and the clock after it.

        Those of an episode that a reset has ended are counted and forgotten.
        """
        good = {head: part for head, part in heads.items() if part.source is Source.QUERIED}
        bad = {head: part.error for head, part in heads.items() if part.error is not None}
        with self._changed:
            self._busy = False
            self._count(failed=1) if bad else self._count(answered=1)
            if snapshot.episode == self._episode:
                tick, taken_at = snapshot.tick, snapshot.taken_at
                new = {head: Answered(tick, taken_at, part) for head, part in good.items()}
                self._answers = {**self._answers, **new}
                kept = {head: error for head, error in self._errors.items() if head not in good}
                self._errors = {**kept, **bad}
                self._clock = clock
            self._changed.notify_all()

    def not_sent(self, snapshot: Snapshot, error: LrmError, clock: ClockState) -> None:
        """A frame could not be sent; the clock is as before it."""
        with self._changed:
            self._busy = False
            self._count(failed=1)
            if snapshot.episode == self._episode:
                self._errors = dict.fromkeys(self._heads, error)
                self._clock = clock
            self._changed.notify_all()

    def pause(self, seconds: float, episode: int) -> None:
        """Waits, unless the session is closed or begins another episode than this one."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._episode != episode, seconds)

    # Under the lock.

    def _check_open(self) -> None:
        if self._closed:
            raise EpisodeNotFound("the session is closed")

    def _drop(self) -> None:
        if self._waiting is not None:
            self._waiting = None
            self._count(dropped=1)

    def _count(self, **more: int) -> None:
        counts = self._counters
        self._counters = replace(
            counts, **{name: getattr(counts, name) + count for name, count in more.items()}
        )

    def _idle(self) -> bool:
        pending = self._opening is not None or self._waiting is not None or self._busy
        return self._closed or not pending

    def _hopeless(self) -> bool:
        """Whether the opening failed for a reason that does not pass by itself."""
        lasting = InvalidRequest | UnknownHead | Unauthenticated
        return any(isinstance(error, lasting) for error in self._errors.values())
