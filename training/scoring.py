"""What an evaluation asks of whatever scores: labels' probabilities for questions about frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Query:
    """One question.

    Attributes:
        head: "contrastive", "progress" or "completion".
        task: the task in words.
        frames: role ("initial", "previous", "current") -> the frame as JPEG.
    """

    head: str
    task: str
    frames: Mapping[str, bytes]


# Label (the profile's public name) -> probability; they sum to 1.
Probabilities = dict[str, float]


class Scorer(Protocol):
    """Answers queries, in order."""

    def __call__(self, queries: Sequence[Query]) -> list[Probabilities]:
        """The labels' probabilities for each query."""
        ...
