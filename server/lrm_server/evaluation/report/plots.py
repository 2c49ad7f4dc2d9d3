"""Plots of all answers together: errors, confusion, calibration, label mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrm_server.evaluation.evidence import completion_probabilities, progress_errors
from lrm_server.evaluation.gathering import MissingError, by_label
from lrm_server.evaluation.judged import JudgedModel
from lrm_server.evaluation.metrics.calibration import reliability_curve
from lrm_server.evaluation.metrics.lrm import cumulative_accuracy
from lrm_server.evaluation.plan import HEADS
from lrm_server.evaluation.report.svg import COLOURS, INK, as_svg, plotting

STAGES: Final = 11
MASS_BINS: Final = 20


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot for the page, or why there is none.

    Attributes:
        title: above it.
        about: what it shows, in a sentence.
        drawing: an ``svg`` element, or None.
        why: why there is none.
    """

    title: str
    about: str
    drawing: Markup | None = None
    why: str = ""


def summary_plots(models: Sequence[JudgedModel], references: Sequence[JudgedModel]) -> list[Plot]:
    """All of them; those that lack what they need say so."""
    with plotting():
        return [
            _cumulative(models, references),
            _confusion(models),
            _calibration(models),
            _label_mass(models),
        ]


def colour(at: int) -> str:
    """Of the model at a place."""
    return COLOURS[at % len(COLOURS)]


def _cumulative(models: Sequence[JudgedModel], references: Sequence[JudgedModel]) -> Plot:
    title, about = "Cumulative accuracy", "Share of frames whose progress is off by at most x."
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.add_subplot(xlabel="error of progress", ylabel="share of frames")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    whys = []
    for at, model in enumerate([*models, *references]):
        try:
            found = progress_errors(model, by_label)
        except MissingError as error:
            whys.append(f"{model.title}: {error}")
            continue
        curve = cumulative_accuracy(found.said, found.true)
        looks = at < len(models)
        axes.plot(
            curve.thresholds,
            curve.shares,
            color=colour(at) if looks else INK,
            alpha=1.0 if looks else 0.45,
            linestyle="-" if looks else ("--", ":", "-.")[(at - len(models)) % 3],
            linewidth=1.8 if looks else 1.1,
            label=model.title,
        )
    return _finished(figure, [axes], title, about, whys)


def _confusion(models: Sequence[JudgedModel]) -> Plot:
    title = "Confusion of progress"
    about = (
        "Rows: the true stage; columns: the stage that was said. The number counts frames, the "
        "shade is their share of the row."
    )
    figure = Figure(figsize=(4.6 * max(len(models), 1), 4.2))
    drawn, whys = [], []
    for at, model in enumerate(models):
        try:
            found = progress_errors(model, by_label)
        except MissingError as error:
            whys.append(f"{model.title}: {error}")
            continue
        counts = confusion(np.concatenate(found.said), np.concatenate(found.true))
        axes = figure.add_subplot(1, len(models), at + 1)
        _draw_confusion(axes, counts, colour(at))
        axes.set_title(model.title)
        drawn.append(axes)
    return _finished(figure, drawn, title, about, whys, legend=False)


def confusion(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Frames by true and said stage, int64 (11, 11); both to the nearest tenth."""
    stages = [
        np.floor(np.clip(v, 0, 1) * (STAGES - 1) + 0.5 + 1e-9).astype(int) for v in (true, said)
    ]
    counts = np.zeros((STAGES, STAGES), np.int64)
    np.add.at(counts, tuple(stages), 1)
    return counts


def _draw_confusion(axes: Axes, counts: np.ndarray, shade: str) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ticks = [f"{stage / 10:.1f}" for stage in range(STAGES)]
    for row in range(STAGES):
        for column in range(STAGES):
            if not counts[row, column]:
                continue
            share = float(shares[row, column])
            axes.fill_between(
                [column - 0.5, column + 0.5],
                row - 0.5,
                row + 0.5,
                color=shade,
                alpha=share,
                linewidth=0,
            )
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7)
    axes.set(
        xlim=(-0.5, STAGES - 0.5),
        ylim=(STAGES - 0.5, -0.5),
        xlabel="said",
        ylabel="true",
        aspect="equal",
    )
    axes.set_xticks(range(STAGES), ticks, fontsize=7)
    axes.set_yticks(range(STAGES), ticks, fontsize=7)
    axes.grid(visible=False)


def _calibration(models: Sequence[JudgedModel]) -> Plot:
    title = "Calibration of completion"
    about = (
        "Where a model says done with probability x, how often it is done; below, how many frames "
        "have such a probability. On the diagonal it means what it says."
    )
    figure = Figure(figsize=(5.2, 4.6))
    curve, bars = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color=INK, alpha=0.4, linestyle="--", linewidth=1)
    whys = []
    for at, model in enumerate(models):
        try:
            found = completion_probabilities(model)
        except MissingError as error:
            whys.append(f"{model.title}: {error}")
            continue
        bins = reliability_curve(found.said, found.true)
        full = [b for b in bins if b.confidence is not None and b.observed is not None]
        points = [b.confidence for b in full], [b.observed for b in full]
        curve.plot(*points, "o-", color=colour(at), label=model.title, markersize=4)
        edges = [*(b.low for b in bins), bins[-1].high]
        bars.stairs([b.count for b in bins], edges, color=colour(at), linewidth=1.5)
    curve.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that is done")
    bars.set(xlabel="probability of done", ylabel="frames", yscale="symlog")
    bars.yaxis.set_major_formatter("{x:g}")
    return _finished(figure, [curve], title, about, whys)


def _label_mass(models: Sequence[JudgedModel]) -> Plot:
    title = "Label mass"
    about = (
        "Share of the model's probability that fell on the labels at all. What lies low was no "
        "answer to the question."
    )
    figure = Figure(figsize=(6.4, 2.9))
    panels = figure.subplots(1, len(HEADS), sharey=True)
    for axes, head in zip(panels, HEADS, strict=True):
        axes.set(title=head, xlabel="label mass", xlim=(0, 1), yscale="symlog")
        for at, model in enumerate(models):
            masses = [
                answer.label_mass
                for judged in model.episodes
                for asked, _, _, answer in judged.answers()
                if asked == head and answer.label_mass is not None
            ]
            if masses:
                counts, edges = np.histogram(np.clip(masses, 0, 1), MASS_BINS, (0, 1))
                axes.stairs(counts, edges, color=colour(at), fill=True, alpha=0.35)
                axes.stairs(counts, edges, color=colour(at), label=model.title, linewidth=1.5)
    panels[0].set_ylabel("answers")
    panels[0].yaxis.set_major_formatter("{x:g}")
    drawn = [axes for axes in panels if axes.patches]
    why = [] if drawn else ["no readout that was asked for gives it"]
    return _finished(figure, drawn, title, about, why)


def _finished(
    figure: Figure,
    drawn: Sequence[Axes],
    title: str,
    about: str,
    whys: Sequence[str],
    *,
    legend: bool = True,
) -> Plot:
    reasons = "; ".join(whys)
    if not any(axes.lines or axes.patches or axes.collections or axes.texts for axes in drawn):
        return Plot(title, about, why=reasons)
    if legend:
        handles, labels = drawn[0].get_legend_handles_labels()
        if not handles:
            return Plot(title, about, why=reasons)
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, fontsize=8
        )
    figure.tight_layout()
    return Plot(title, about, as_svg(figure, title), reasons)
