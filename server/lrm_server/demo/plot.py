"""The traces as a picture: one panel a rollout."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrm_server.demo.scoring import Trace

COLUMNS: Final = 4
SUCCESS: Final = "#1b7837"
FAILURE: Final = "#b2182b"
PROGRESS: Final = "#2166ac"
TRI: Final = "#e08214"


def plot_traces(traces: Sequence[Trace], interval: int, out: Path) -> None:
    """Writes a PNG: progress and tri as they were held, true progress as a line.

    Raises:
        OSError: the file cannot be written.
    """
    rows = -(-len(traces) // COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 2.9 * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).ravel()
    for panel, trace in zip(panels, traces, strict=False):
        _draw(panel, trace)
    for panel in panels[len(traces) :]:
        panel.set_visible(False)
    for panel in panels[::COLUMNS]:
        panel.set_ylabel("reward")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(f"Rewards of the embedded checkpoint, asked every {interval} steps and held")
    figure.savefig(out, dpi=130)


def _draw(panel: Axes, trace: Trace) -> None:
    rollout = trace.rollout
    panel.plot(
        rollout.steps,
        rollout.progress,
        color="0.55",
        linewidth=1.6,
        label="true progress",
        zorder=1,
    )
    for name, color in (("tri", TRI), ("progress", PROGRESS)):
        head = trace.heads[name]
        steps = np.arange(1, rollout.length + 1)
        panel.step(steps, head.values, where="post", color=color, linewidth=1.5, label=name)
        panel.plot(steps[head.queried], head.values[head.queried], "o", color=color, markersize=3)
    color = SUCCESS if rollout.success else FAILURE
    panel.set_title(
        f"{textwrap.fill(rollout.task, 34)}\n{rollout.outcome}", fontsize=8.5, color=color
    )
    panel.set_xlabel("step")
    panel.set_xlim(0, rollout.length + 1)
    panel.set_ylim(-0.03, 1.05)
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
