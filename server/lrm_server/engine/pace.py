"""How fast questions have been answered of late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

COUNTED: Final = 128
"""Answers that the pace is taken over: some steps of the engine, which answer many at once."""
FIRST_GUESS_SECONDS: Final = 0.01
"""Of an engine that has answered nothing yet."""


class Pace:
    """Seconds from one answer to the next, counted while there was something to answer.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy_before = 0.0
        self._busy_since: float | None = None
        self._answers: deque[float] = deque(maxlen=COUNTED)

    def busy(self) -> None:
        """There is something to answer from now on."""
        if self._busy_since is None:
            self._busy_since = self._clock()
            if not self._answers:
                self._answers.append(self._busy_before)

    def idle(self) -> None:
        """There is nothing to answer any more."""
        self._busy_before = self._busy_seconds()
        self._busy_since = None

    def answered(self) -> None:
        """A question got its answer."""
        self._answers.append(self._busy_seconds())

    @property
    def seconds(self) -> float:
        """From one answer to the next."""
        gaps = len(self._answers) - 1
        if gaps < 1:
            return FIRST_GUESS_SECONDS
        return (self._answers[-1] - self._answers[0]) / gaps

    def _busy_seconds(self) -> float:
        since = self._busy_since
        return self._busy_before + (0.0 if since is None else self._clock() - since)
