"""What is said of a trajectory when all of it is scored."""

from __future__ import annotations

from collections.abc import Sequence

from lrm_server.errors import DomainError, invalid
from lrm_server.heads.query import Reply
from lrm_server.trajectories.types import HeadSummary, Normalise, Point


class Tally:
    """Takes the points of a trajectory and keeps their numbers, not their replies."""

    def __init__(self, heads: Sequence[str], normalise: Normalise | None) -> None:
        self._normalise = normalise
        self._values: dict[str, list[float | None]] = {head: [] for head in heads}
        self._logs: dict[str, list[float | None]] = {head: [] for head in heads}
        self.points = 0

    def add(self, point: Point) -> None:
        """Takes a point."""
        self.points += 1
        for head, outcome in point.outcomes.items():
            reply = outcome if isinstance(outcome, Reply) else None
            self._values[head].append(reply.value if reply else None)
            self._logs[head].append(reply.log_probability if reply else None)

    def heads(self) -> dict[str, HeadSummary]:
        """What became of each head, in their order."""
        return {head: self._head(head) for head in self._values}

    def _head(self, head: str) -> HeadSummary:
        values = [value for value in self._values[head] if value is not None]
        logs = self._logs[head]
        normalised, error = None, None
        if self._normalise is Normalise.MIN_MAX and any(log is not None for log in logs):
            outcome = min_max(head, logs)
            if isinstance(outcome, DomainError):
                error = outcome
            else:
                normalised = outcome
        return HeadSummary(
            head=head,
            points=len(self._values[head]),
            failed=len(self._values[head]) - len(values),
            first=values[0] if values else None,
            last=values[-1] if values else None,
            mean=sum(values) / len(values) if values else None,
            minimum=min(values, default=None),
            maximum=max(values, default=None),
            normalised=normalised,
            normalise_error=error,
        )


def min_max(
    head: str, log_probabilities: Sequence[float | None]
) -> tuple[float | None, ...] | DomainError:
    """The log-probabilities of a trajectory, mapped so that they run from 0 to 1.

    Args:
        head: whose they are.
        log_probabilities: one a point; None where the head failed, which stays None.

    Returns:
        Values in [0, 1]; an error when all are equal: a trajectory that is flat says
        nothing about where between 0 and 1 it lies, and no number stands for that.
    """
    known = [log for log in log_probabilities if log is not None]
    low, high = min(known), max(known)
    if not low < high:
        return invalid(
            "normalise",
            f"head {head} gave the same log-probability ({low:g}) at all of its {len(known)} "
            "points, and min_max maps a range: take the head's own values, or score more frames.",
        )
    scale = high - low
    return tuple(None if log is None else (log - low) / scale for log in log_probabilities)
