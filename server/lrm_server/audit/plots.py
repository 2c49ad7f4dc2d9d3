"""Pictures of an audit's evidence, as PNG in data URIs, so that the page needs nothing else."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib.figure import Figure

from lrm_server.audit.audit import Audit
from lrm_server.audit.evidence import Trace
from lrm_server.evaluation.metrics.calibration import reliability_curve

SUCCESS: Final = "#0072b2"
FAILURE: Final = "#d55e00"
UNKNOWN: Final = "#777777"


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot with its caption; ``source`` is a data URI."""

    caption: str
    source: str


def pictures(audit: Audit) -> list[Picture]:
    """Those that the evidence has the numbers for."""
    traces = audit.evidence.traces
    found: list[Picture] = []
    if any(_shown(t, t.progress) for t in traces):
        found.append(_progress_picture(traces))
    if any(t.done_step is not None and np.isfinite(t.completion).any() for t in traces):
        found.append(_timing_picture(traces, audit.thresholds["called_score"]))
    if any(t.done is not None and np.isfinite(t.completion).any() for t in traces):
        found.append(_reliability_picture(traces))
    return found


def _colour(trace: Trace) -> str:
    return {True: SUCCESS, False: FAILURE, None: UNKNOWN}[trace.success]


def _shown(trace: Trace, scores: Any) -> bool:
    return trace.truth is not None and bool(np.isfinite(scores).any())


def _progress_picture(traces: tuple[Trace, ...]) -> Picture:
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for trace in traces:
        if trace.truth is not None:
            axes.plot(
                trace.truth, trace.progress, ".-", color=_colour(trace), alpha=0.35, linewidth=0.8
            )
    axes.set(xlabel="true progress", ylabel="answered progress", xlim=(0, 1), ylim=(-0.02, 1.02))
    return Picture(
        "Progress against the truth: a line an episode in the order of time, blue successes, "
        "orange failures; a right model lies on the diagonal.",
        _data_uri(figure),
    )


def _timing_picture(traces: tuple[Trace, ...], threshold: float) -> Picture:
    figure, axes = _axes()
    axes.axvline(0, color="#999999", linewidth=1)
    axes.axhline(threshold, color="#999999", linewidth=1, linestyle=":")
    for trace in traces:
        if trace.done_step is not None:
            share = (trace.steps - trace.done_step) / max(trace.length, 1)
            axes.plot(
                share, trace.completion, ".-", color=_colour(trace), alpha=0.35, linewidth=0.8
            )
    axes.set(xlabel="share of the episode since the true success", ylabel="completion")
    axes.set_ylim(-0.02, 1.02)
    return Picture(
        "Completion around the true success: rising left of 0 is early, right of it late.",
        _data_uri(figure),
    )


def _reliability_picture(traces: tuple[Trace, ...]) -> Picture:
    confidence: list[Any] = []
    outcome: list[Any] = []
    for trace in traces:
        if trace.done is not None:
            there = np.isfinite(trace.completion)
            confidence.append(trace.completion[there])
            outcome.append(trace.done[there])
    bins = [b for b in reliability_curve(confidence, outcome) if b.count]
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    axes.plot([b.confidence for b in bins], [b.observed for b in bins], "o-", color=SUCCESS)
    for one in bins:
        axes.annotate(str(one.count), (one.confidence, one.observed), fontsize=7)
    axes.set(xlabel="completion's probability", ylabel="share of frames done")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.05))
    return Picture("Reliability of completion, with the number of frames.", _data_uri(figure))


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.6, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
