"""A loop of a fixed rate that keeps its phase."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Rate:
    """Paces a loop: ``sleep`` at its end waits for the next tick of a fixed grid.

    The ticks lie at whole periods after the start, so that neither the loop's work nor the
    operating system's late wake-ups add up. A loop that overran a tick goes on at once,
    skips the ticks that it missed, and is back on the grid at the next one.

    Args:
        hz: ticks a second, finite and positive.
        clock: seconds on a clock that never goes back.
        sleep: waits so many seconds.

    Raises:
        ValueError: a rate out of range.
    """

    def __init__(
        self,
        hz: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < hz < math.inf:
            raise ValueError(f"a rate must be finite and positive, not {hz}")
        self._hz = hz
        self._clock = clock
        self._sleep = sleep
        self._overruns = 0
        self.start()

    @property
    def hz(self) -> float:
        """Ticks a second."""
        return self._hz

    @property
    def overruns(self) -> int:
        """How often the loop came to its end after the tick that it was to wait for."""
        return self._overruns

    def start(self) -> None:
        """Puts the grid's beginning here, after work that is no part of the loop."""
        self._started = self._clock()
        self._ticks = 0

    def sleep(self) -> float:
        """Waits for the next tick.

        Returns:
            Seconds by which the loop was late; 0 when it had to wait.
        """
        self._ticks += 1
        elapsed = self._clock() - self._started
        left = self._ticks / self._hz - elapsed
        if left >= 0:
            self._sleep(left)
            return 0.0
        self._overruns += 1
        # The tick that was overrun is this one, however many were missed with it.
        self._ticks = max(self._ticks, math.floor(elapsed * self._hz))
        return -left
