"""The window of a video head: which of its frames are shown, and in which order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lrm_server.errors import invalid
from lrm_server.frames import Frame

if TYPE_CHECKING:
    from lrm_server.heads.query import WindowFrame

FIELD = "window"


class Window(BaseModel):
    """How a head looks at a window of frames.

    Attributes:
        media: ``video``: one video with the times of its frames; ``images``: an
            image for each frame.
        max_frames: of each view; longer windows are thinned evenly.
        min_frames: of each view.
        views: cameras that look at the same moments; their frames follow each
            other, all of one view before those of the next.
        place: where the frames stand: where the prompt says ``<window>``, or before
            or after the whole text, wherever it says it.
        order: ``shuffled`` hides the order of time; the first frame stays first.
        view_text: before a view's images; ``{number}`` counts views from 1.
        frame_text: before each image; ``{number}`` counts frames from 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    media: Literal["video", "images"]
    max_frames: Annotated[int, Field(ge=1)]
    min_frames: Annotated[int, Field(ge=1)] = 1
    views: Annotated[int, Field(ge=1)] = 1
    place: Literal["prompt", "first", "last"] = "prompt"
    order: Literal["time", "shuffled"] = "time"
    view_text: str = ""
    frame_text: str = ""

    @model_validator(mode="after")
    def _is_possible(self) -> Window:
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames {self.min_frames} is above max_frames {self.max_frames}")
        if self.media == "video" and (self.views > 1 or self.order == "shuffled"):
            raise ValueError("a video has one view and runs with time: show several as images")
        return self

    @property
    def most_images(self) -> int:
        """Images that a question may hold; 0 for a video."""
        return self.max_frames * self.views if self.media == "images" else 0

    @property
    def most_video_frames(self) -> int:
        """Frames that a question's video may have; 0 for images."""
        return self.max_frames if self.media == "video" else 0


@dataclass(frozen=True, slots=True)
class Shown:
    """The frames of a window that a head is shown.

    Attributes:
        views: of each view, its frames in the order of time.
        indices: of each frame, its number on the window's axis of time; increasing.
        places: of each view, where each of its frames stands in the window that was
            sent, from 0.
        order: the order in which the frames of each view are shown, from 0.
        sent: how many frames were sent.
    """

    views: tuple[tuple[Frame, ...], ...]
    indices: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    sent: int

    def as_sent(self, values: Sequence[float]) -> tuple[float | None, ...]:
        """Values of the first view's frames, in time, for each frame that was sent."""
        found: list[float | None] = [None] * self.sent
        for place, value in zip(self.places[0], values, strict=True):
            found[place] = value
        return tuple(found)


def thinned(count: int, most: int) -> list[int]:
    """Which of ``count`` frames are kept when ``most`` may be: evenly spread, first and last too.

    The same frames that Qwen3-VL's video processor samples when it is asked for so
    many: numpy's ``linspace`` from first to last, rounded. One frame alone is the last.
    """
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return [int(at) for at in np.linspace(0, count - 1, most).round()]


def shown(window: Window, frames: Sequence[WindowFrame], head: str, field: str = FIELD) -> Shown:
    """Checks a query's window and chooses what the head is shown of it.

    Raises:
        DomainError: INVALID_ARGUMENT of ``window`` when there are too few frames, too
            many or too few views, views that do not look at the same moments, frames
            out of order, or frames of several sizes in a video.
    """
    by_view: dict[str, list[tuple[int, WindowFrame]]] = {}
    for at, each in enumerate(frames):
        by_view.setdefault(each.view, []).append((at, each))
    if len(by_view) != window.views:
        raise invalid(
            field,
            f"head {head} looks at a window of {window.views} view(s) and got {len(by_view)}: "
            "send its frames, and with several cameras name each frame's view.",
        )
    axes = [
        tuple(at if each.index is None else each.index for at, (_, each) in enumerate(view))
        for view in by_view.values()
    ]
    indices = axes[0]
    if any(axis != indices for axis in axes):
        raise invalid(field, "the views differ in their moments: send the same ones of each view.")
    if any(later <= earlier for earlier, later in pairwise(indices)):
        raise invalid(field, "the frames are not in the order of time: send the oldest first.")
    if len(indices) < window.min_frames:
        raise invalid(
            field,
            f"head {head} needs at least {window.min_frames} frames and got {len(indices)}.",
        )
    kept = thinned(len(indices), window.max_frames)
    views = tuple(tuple(view[at][1].frame for at in kept) for view in by_view.values())
    places = tuple(tuple(view[at][0] for at in kept) for view in by_view.values())
    if window.media == "video" and len({(f.height, f.width) for f in views[0]}) > 1:
        raise invalid(field, "the frames of a video have different sizes: send them in one size.")
    order = _shuffled(views[0]) if window.order == "shuffled" else tuple(range(len(kept)))
    return Shown(views, tuple(indices[at] for at in kept), places, order, len(frames))


def _shuffled(frames: Sequence[Frame]) -> tuple[int, ...]:
    """An order that depends on the frames alone, so that a question asked again is the same.

    The first frame stays first: it is the one whose progress is given.
    """
    seed = hashlib.blake2b(b"".join(frame.digest for frame in frames), digest_size=8).digest()
    rest = list(range(1, len(frames)))
    random.Random(seed).shuffle(rest)  # noqa: S311 - hides the order of time, no secret
    return (0, *rest)
