"""Plots of how the cost of rewards grows, one for each question, in one style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

AXES = {
    "environments": "environments",
    "frame size": "frame's side in pixels as it is sent (16 environments)",
    "heads per frame": "what is asked about each frame (64 environments)",
    "adapters": "heads on adapters of their own (64 environments, three heads)",
}
"""Question -> what its axis says."""


class Drawn(Protocol):
    """A point of a plot; see ``growth.Point``."""

    @property
    def question(self) -> str:
        """What grows."""
        ...

    @property
    def at(self) -> str:
        """How far it has grown."""
        ...

    @property
    def rewards_per_s(self) -> float:
        """Rewards per second."""
        ...


def draw(points: Sequence[Drawn], machine: str, folder: Path) -> list[Path]:
    """Draws each question into a file of its own.

    Args:
        points: of all questions.
        machine: that they were measured on.
        folder: of the files; it is made where there is none.

    Returns:
        The files, ``QUESTION.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for question, axis in AXES.items():
        mine = [point for point in points if point.question == question]
        if not mine:
            continue
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        panel = figure.subplots()
        _plot(panel, mine)
        panel.set_xlabel(axis)
        panel.set_ylabel("rewards per second")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        figure.suptitle(machine, fontsize=7, color="gray")
        drawn.append(folder / f"{question.replace(' ', '_')}.png")
        figure.savefig(drawn[-1], dpi=110)
    return drawn


def _plot(panel: Axes, points: Sequence[Drawn]) -> None:
    """A line over numbers, bars over what has none."""
    rates = [point.rewards_per_s for point in points]
    names = [point.at for point in points]
    if all(name.isdigit() for name in names):
        numbers = [int(name) for name in names]
        panel.plot(numbers, rates, "o-", color="tab:blue", linewidth=1.4, markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_xticks(numbers, names)
        panel.minorticks_off()
        return
    panel.bar(names, rates, color="tab:blue", width=0.6)
    panel.tick_params(axis="x", labelrotation=20, labelsize=8)
