"""Single episodes over time: what was said beside what is so, with the frames."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lrm_server.evaluation.evidence import rewards_of
from lrm_server.evaluation.gathering import by_expectation, by_label
from lrm_server.evaluation.judged import JudgedEpisode, JudgedModel
from lrm_server.evaluation.plan import HEADS
from lrm_server.evaluation.report.plots import colour
from lrm_server.evaluation.report.svg import INK, as_svg, plotting
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.pixels import as_pixels

THUMBNAILS: Final = 9
THUMBNAIL_PIXELS: Final = 112


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small frame.

    Attributes:
        caption: the step, and the true progress where it is labelled.
        uri: the JPEG as a data URI; empty where the frame cannot be read.
    """

    caption: str
    uri: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One episode on the page."""

    verdict: str
    episode: str
    data_set: str
    task: str
    facts: str
    drawing: Markup
    frames: tuple[Thumbnail, ...]


def chosen_traces(models: Sequence[JudgedModel], each: int) -> tuple[str, list[Trace]]:
    """The best, median and worst episodes of the first model, and by what they were chosen.

    Args:
        models: whose traces are drawn; the first one chooses.
        each: how many of each sort, at most.
    """
    by, errors = _errors(models[0])
    ranked = sorted(errors, key=lambda at: errors[at])
    middle = max((len(ranked) - each) // 2, 0)
    places: dict[int, str] = {}
    for verdict, some in (
        ("best", ranked[:each]),
        ("median", ranked[middle : middle + each]),
        ("worst", ranked[::-1][:each]),
    ):
        for at in some:
            places.setdefault(at, f"{verdict}: {by} {errors[at]:.3f}" if by else "")
    with plotting():
        traces = [
            _trace([model.episodes[at] for model in models], models, verdict)
            for at, verdict in places.items()
        ]
    return by, traces


def _errors(model: JudgedModel) -> tuple[str, dict[int, float]]:
    """Each episode's error by place, of the first kind that can be computed."""
    kinds: list[tuple[str, Callable[[JudgedEpisode], float | None]]] = [
        ("progress MAE", _progress_error),
        ("share of frames with wrong completion", _completion_error),
    ]
    for name, measure in kinds:
        found = {at: measure(judged) for at, judged in enumerate(model.episodes)}
        errors = {at: error for at, error in found.items() if error is not None}
        if errors:
            return name, errors
    return "", dict.fromkeys(range(len(model.episodes)), 0.0)


def _progress_error(judged: JudgedEpisode) -> float | None:
    said, truth = rewards_of(judged, "progress", by_label), judged.episode.progress
    if truth is None or not said:
        return None
    return float(np.mean([abs(value - truth[at]) for at, value in said.items()]))


def _completion_error(judged: JudgedEpisode) -> float | None:
    said, done = rewards_of(judged, "completion", by_label), judged.episode.done
    if done is None or not said:
        return None
    return float(np.mean([(value >= 0.5) != done[at] for at, value in said.items()]))


def _trace(judged: Sequence[JudgedEpisode], models: Sequence[JudgedModel], verdict: str) -> Trace:
    episode = judged[0].episode
    ends = {True: "success", False: "failure", None: "outcome not labelled"}[episode.success]
    facts = [ends, episode.kind, f"{len(episode.frames)} frames, {episode.length} steps"]
    return Trace(
        verdict,
        episode.id,
        judged[0].data_set,
        episode.task,
        ", ".join(fact for fact in facts if fact),
        _draw(judged, models),
        tuple(_thumbnail(episode, at) for at in _spread(len(episode.frames))),
    )


def _draw(judged: Sequence[JudgedEpisode], models: Sequence[JudgedModel]) -> Markup:
    episode = judged[0].episode
    figure = Figure(figsize=(11.4, 2.9))
    panels = figure.subplots(1, len(HEADS))
    for axes, head in zip(panels, ("progress", "completion", "contrastive"), strict=True):
        axes.set(title=head, xlabel="step")
        _draw_truth(axes, head, episode)
        for at, (mine, model) in enumerate(zip(judged, models, strict=True)):
            said = rewards_of(mine, head, by_expectation)
            if said:
                steps = [episode.steps[frame] for frame in said]
                axes.plot(
                    steps,
                    list(said.values()),
                    "o-",
                    color=colour(at),
                    markersize=3,
                    linewidth=1.4,
                    label=model.title,
                )
        axes.set_ylim((-1.08, 1.08) if head == "contrastive" else (-0.04, 1.04))
    handles = {
        label: handle
        for axes in reversed(panels)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="upper center",
            bbox_to_anchor=(0.5, 0.02),
            ncols=4,
            fontsize=8,
        )
    figure.tight_layout()
    return as_svg(figure, f"Answers over the steps of episode {episode.id} of {judged[0].data_set}")


def _draw_truth(axes: Axes, head: str, episode: RecordedEpisode) -> None:
    truth = {"progress": episode.progress, "completion": episode.done}.get(head)
    if head == "contrastive":
        axes.axhline(0, color=INK, alpha=0.3, linewidth=0.8)
        if episode.progress is None:
            return
        # +1 where true progress rises towards the frame, -1 where it falls.
        change = np.sign(np.diff(episode.progress))
        axes.plot(episode.steps[1:], change, "_", color=INK, alpha=0.6, markersize=9, label="truth")
    elif truth is not None:
        style = "steps-post" if head == "completion" else "default"
        axes.plot(
            episode.steps,
            truth.astype(float),
            color=INK,
            alpha=0.55,
            linewidth=2.2,
            linestyle=(0, (4, 2)),
            drawstyle=style,
            label="truth",
        )


def _spread(count: int) -> list[int]:
    """Places of at most ``THUMBNAILS`` frames, the first and the last among them."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, THUMBNAILS))})


def _thumbnail(episode: RecordedEpisode, at: int) -> Thumbnail:
    caption = f"step {episode.steps[at]}"
    if episode.progress is not None:
        caption += f", {episode.progress[at]:.2f}"
    try:
        pixels = as_pixels(episode.frames[at])
    except RecordingError:
        return Thumbnail(caption, "")
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return Thumbnail(
        caption, f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    )
