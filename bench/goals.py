"""What a benchmark's figures should be. They are printed beside what was found; none fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """A figure and its bound.

    Attributes:
        what: the figure in words.
        found: the figure.
        bound: what it should be.
        at_least: whether the bound is the least that it should be, or the most.
    """

    what: str
    found: float
    bound: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether it is as it should be; a figure that is not a number is not."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


def show(goals: Sequence[Goal]) -> Table:
    """The goals as a table."""
    table = Table(title="goals")
    for title in ("figure", "found", "goal", ""):
        table.add_column(title, justify="left" if title == "figure" else "right", no_wrap=True)
    for goal in goals:
        sign = ">=" if goal.at_least else "<="
        met = "met" if goal.met else "missed"
        table.add_row(goal.what, f"{goal.found:.4g}", f"{sign} {goal.bound:.4g}", met)
    return table
