"""Plots of values over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrm_server.media.results import ResultRow


def plot_rows(rows: Sequence[ResultRow], title: str, out: Path) -> None:
    """Draws one panel a head: values as steps, queried ones as dots, failures as crosses."""
    heads = list(dict.fromkeys(row.head for row in rows))
    figure = Figure(figsize=(8.0, 1.0 + 2.0 * len(heads)), layout="constrained")
    FigureCanvasAgg(figure)
    timed = all(row.seconds is not None or row.error for row in rows)
    panels = figure.subplots(len(heads), 1, sharex=True, squeeze=False)[:, 0]
    for head, panel in zip(heads, panels, strict=True):
        mine = [row for row in rows if row.head == head]
        valued = [(_place(row, timed), row.value) for row in mine if row.value is not None]
        if valued:
            panel.step(*zip(*valued, strict=True), where="post", color="tab:blue", linewidth=1.4)
        asked = [(_place(row, timed), row.value) for row in mine if row.source == "queried"]
        if asked:
            panel.plot(*zip(*asked, strict=True), "o", color="tab:blue", markersize=3)
        for row in mine:
            if row.error:
                panel.axvline(_place(row, timed), color="tab:red", linewidth=0.8, linestyle=":")
        # Most heads' values lie between 0 and 1; contrastive's reach down to -1.
        values = [0.0, 1.0, *(value for _, value in valued)]
        panel.set_ylim(min(values) - 0.05, max(values) + 0.05)
        panel.set_ylabel(head)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("seconds" if timed else "frame")
    figure.suptitle(title, fontsize=10)
    figure.savefig(out, dpi=130)


def _place(row: ResultRow, timed: bool) -> float:
    return row.seconds if timed and row.seconds is not None else float(row.frame)
