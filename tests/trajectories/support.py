"""Heads of windows beside those of single frames, and videos made for a test."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np

from lrm_server.errors import DomainError
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile
from lrm_server.heads.query import Query, Reply
from lrm_server.trajectories.frame_source import Arrived, FrameSource
from lrm_server.trajectories.service import TrajectoryService
from lrm_server.trajectories.types import Point, Summary, TrajectoryLimits, TrajectorySpec
from tests.api.frames import jpeg, png
from tests.scripted_scorer import Answers, ScriptedScorer, served_label_head

TASK = "pick up the cube"
SIDE = 32


class WindowScorer(ScriptedScorer):
    """Serves RoboReward and TOPReward as well.

    TOPReward's replies say their log-probability, RoboReward's have a series of which the
    head was shown the first frame alone.
    """

    def __init__(self, answers: Answers = lambda query: 0.5) -> None:
        super().__init__(answers)
        profiles = [load_profile(name) for name in ("roboreward", "topreward")]
        heads = [served_label_head(p) for p in profiles if isinstance(p, LabelProfile)]
        self.catalogue = HeadCatalogue([*self.catalogue.values(), *heads], self.catalogue.model)

    async def score(self, query: Query) -> Reply:
        reply = await super().score(query)
        if query.head == "roboreward":
            shown = [0.25 if at == 0 else None for at in range(len(query.window))]
            return replace(reply, series={"progress": tuple(shown)})
        if query.head != "topreward":
            return reply
        return replace(reply, log_probability=10.0 * (reply.value - 1.0))


def grey(level: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def video(
    levels: Sequence[int],
    *,
    container: str = "mp4",
    codec: str = "libx264",
    rate: int = 10,
    times: Sequence[float] | None = None,
    height: int = SIDE,
    width: int = SIDE,
) -> bytes:
    """A video of grey frames; at ``times`` in seconds instead of one rate."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        base = Fraction(1, rate if times is None else 1000)
        stream.time_base = stream.codec_context.time_base = base
        for at, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(grey(level, height, width), format="rgb24")
            seconds = at / rate if times is None else times[at]
            frame.pts, frame.time_base = round(seconds / base), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return buffer.getvalue()


def frames(count: int, **size: int) -> list[Frame]:
    return [open_frame(png(seed=i, **size), Encoding.PNG, FrameLimits()) for i in range(count)]


def broken() -> Frame:
    return open_frame(jpeg()[:-200], Encoding.JPEG, FrameLimits())


def spec_of(*heads: str, **options: Any) -> TrajectorySpec:
    return TrajectorySpec(task=TASK, heads=heads, **options)


async def one_by_one(
    sent: Sequence[Frame | DomainError], views: int, times: Sequence[float]
) -> AsyncIterator[Arrived]:
    for at in range(0, len(sent), views):
        yield Arrived(sent[at : at + views], times[at // views : at // views + 1])


async def scored(
    scorer: ScriptedScorer,
    spec: TrajectorySpec,
    sent: Sequence[Frame | DomainError],
    *,
    times: Sequence[float] = (),
    seconds: float = 20.0,
    **limits: Any,
) -> tuple[list[Point], Summary]:
    service = TrajectoryService(scorer, TrajectoryLimits(**limits))
    source = FrameSource(spec, one_by_one(sent, len(spec.views), times), service.limits)
    now = time.monotonic()
    items = [
        item async for item in service.score(spec, source, arrived=now, deadline=now + seconds)
    ]
    *points, summary = items
    assert isinstance(summary, Summary)
    return [point for point in points if isinstance(point, Point)], summary
