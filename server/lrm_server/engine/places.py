"""How many questions may be past the queue at once, of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from lrm_server.callers import Priority

INTERACTIVE_SHARE: Final = 0.75
"""Of the engine, while others want it too: robots that never stop do not starve learners."""


class Places(Protocol):
    """Says whether one more question may pass."""

    def has_room(
        self, priority: Priority, passed: Mapping[Priority, int], *, contended: bool
    ) -> bool:
        """Whether a question of a class may pass.

        Args:
            priority: its class.
            passed: how many of each class are past the queue.
            contended: whether questions of batch wait, or are past the queue.
        """
        ...

    def answered(self, priority: Priority, tokens: float) -> None:
        """A question was answered.

        Args:
            priority: its class.
            tokens: that it took of each of the engine's steps, on average.
        """
        ...


class FixedPlaces:
    """As many questions as whoever answers them takes on at once.

    Args:
        places: of both classes together. Batch may hold them all; then interactive questions
            get those that become free first.
    """

    def __init__(self, places: int) -> None:
        self._places = max(2, places)

    def has_room(
        self, priority: Priority, passed: Mapping[Priority, int], *, contended: bool
    ) -> bool:
        """See ``Places``."""
        if sum(passed.values()) >= self._places:
            return False
        if priority is Priority.BATCH or not contended:
            return True
        return passed[Priority.INTERACTIVE] < int(INTERACTIVE_SHARE * self._places)

    def answered(self, priority: Priority, tokens: float) -> None:
        """Nothing follows from it here."""


class StepPlaces:
    """As many questions as fill the engine's next steps, by what questions took of late.

    Measured in tokens, since a step is full when its tokens are: of 640, 17 questions about
    progress fill it where the initial frame is known, and 10 comparisons.

    Of batch as many as fill the steps that the engine is busy with and the one after them,
    which is then full when it begins. More would only stand in the engine's queue, which
    knows no clients. Of interactive ones as many, but while there are others three quarters
    of one step's worth: the engine takes them first into each step, and what they leave of
    it is batch's.

    Args:
        step_tokens: that the engine computes in a step, at most.
        sequences: that it runs at once. A quarter of them is for interactive questions:
            models that write keep theirs for many steps.
        steps: whose worth of questions is past the queue.
    """

    WEIGHT: Final = 0.1
    """Of the last answer in the average: some ten answers tell of other frames."""

    def __init__(self, step_tokens: int, sequences: int, steps: int = 2) -> None:
        self._step_tokens = step_tokens
        self._steps = steps
        self._interactive = max(1, sequences // 4)
        self._batch = max(1, sequences - self._interactive)
        self._tokens: dict[Priority, float] = {}

    def has_room(
        self, priority: Priority, passed: Mapping[Priority, int], *, contended: bool
    ) -> bool:
        """See ``Places``."""
        if priority is Priority.BATCH or not contended:
            most = self._worth(priority, self._steps, self._batch)
        else:
            most = self._worth(priority, INTERACTIVE_SHARE, self._interactive)
        return passed[priority] < most

    def answered(self, priority: Priority, tokens: float) -> None:
        """See ``Places``."""
        before = self._tokens.get(priority, tokens)
        self._tokens[priority] = before + self.WEIGHT * (tokens - before)

    def _worth(self, priority: Priority, steps: float, most: int) -> int:
        """How many questions of a class fill so many steps."""
        # A class that was never answered is taken to ask what the other does.
        known = self._tokens.get(priority) or max(self._tokens.values(), default=0.0)
        if known <= 0:
            return most
        return max(1, min(most, int(steps * self._step_tokens / known)))
