"""Bytes that state takes where no model runs: open episodes, and a client's objects.

Each figure is the slope of a fresh process's resident memory over thousands of the same thing, so
that what it weighs is what the system gives for it, allocator and all.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ClassVar, TypeVar
from zlib import crc32

import numpy as np
import psutil
import simplejpeg

from bench.learner import TASK
from bench.scene import SIDE, frames
from lrm_client import RewardClient
from lrm_client.clock import ClockConfig
from lrm_server.engine.protocol import (
    Conversation,
    EngineStatus,
    EngineTimings,
    Generation,
    LabelReading,
    Question,
    Written,
)
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import default_manifest, served_heads
from lrm_server.heads.profile import Readout
from lrm_server.heads.scoring import HeadScorer

T = TypeVar("T")

BATCH = 200
BATCHES = 4
INTERVAL = 10
STEPS = 40
"""An episode remembers its last 32 steps: so many fill it."""


class UniformEngine:
    """Finds every label as probable as the others, without looking."""

    fingerprint = "uniform"
    adapters: ClassVar[dict[str, str]] = {}

    async def read_forced(self, question: Question) -> LabelReading:
        """Uniform."""
        labels = question.form.labels
        return LabelReading((-float(np.log(len(labels))),) * len(labels), "", EngineTimings())

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        """Uniform."""
        return await self.read_forced(question)

    async def generate(self, question: Question) -> Generation:
        """Nothing is written here."""
        raise NotImplementedError

    async def converse(self, conversation: Conversation) -> Written:
        """Nothing is written here."""
        raise NotImplementedError

    async def status(self) -> EngineStatus:
        """Ready."""
        return EngineStatus(True, "", 0, 0)


def uniform_scorer() -> HeadScorer:
    """LRM's heads, read at once, without a model."""
    engine = UniformEngine()
    heads = served_heads(default_manifest("uniform"), {})
    return HeadScorer(engine, HeadCatalogue(heads, ModelCard("uniform", "", engine.fingerprint)))


@dataclass(frozen=True)
class IdleEpisode:
    """What an open episode takes that waits for its next step.

    Attributes:
        heads: which are asked.
        encoding: of its frames.
        interval: K.
        total: bytes, by the process's memory.
        frames: of these, the frames that it keeps, as the store counts them.
        again: bytes by which the process grows for each when all were closed and as many are
            opened again.
    """

    heads: str
    encoding: str
    interval: int
    total: float
    frames: float
    again: float


def idle_episodes(heads: tuple[str, ...], encoding: Encoding, interval: int) -> IdleEpisode:
    """Opens thousands of episodes, takes each over ``STEPS`` steps, and closes them."""
    return asyncio.run(_idle_episodes(heads, encoding, interval))


async def _idle_episodes(heads: tuple[str, ...], encoding: Encoding, interval: int) -> IdleEpisode:
    count = BATCH * BATCHES
    store = MemoryEpisodeStore(max_episodes=count, max_frame_mib=4096, idle_seconds=3600)
    service = EpisodeService(uniform_scorer(), store)

    async def take_all(turn: int) -> list[int]:
        held = []
        for batch in range(BATCHES):
            await _take(service, f"{turn}-{batch}", heads, encoding, interval)
            held.append(_resident())
        return held

    first = await take_all(1)
    kept = store.frame_bytes
    await service.close(f"1-{batch}-{at}" for batch in range(BATCHES) for at in range(BATCH))
    second = await take_all(2)
    return IdleEpisode(
        ", ".join(heads),
        encoding.value,
        interval,
        total=_slope(BATCH * np.arange(1, BATCHES + 1), first),
        frames=kept / count,
        again=(second[-1] - first[-1]) / count,
    )


async def _take(
    service: EpisodeService, name: str, heads: tuple[str, ...], encoding: Encoding, interval: int
) -> None:
    """Opens a batch of episodes and takes them over their steps."""
    names = [f"{name}-{at}" for at in range(BATCH)]
    clock = ClockConfig(interval)
    await service.open(
        EpisodeSpec(id=each, task=TASK, heads=heads, clock=clock, readout=Readout.LIKELIHOOD)
        for each in names
    )
    for step in range(STEPS + 1):
        shown: Sequence[Frame | None] = [None] * BATCH
        if step % interval == 0:
            shown = _as_received(encoding, seed=crc32(name.encode()) + step)
        steps = [
            EpisodeStep(episode=each, step=step, frame=frame)
            for each, frame in zip(names, shown, strict=True)
        ]
        for answer in await service.step(steps):
            if isinstance(answer, Exception):
                raise answer


def _as_received(encoding: Encoding, seed: int) -> list[Frame]:
    """Frames as they come over the wire: parts of one message, or files of their own."""
    images = frames(BATCH, seed)
    if encoding is Encoding.RAW:
        message = memoryview(images.tobytes())
        size = len(message) // BATCH
        parts = [message[at * size : (at + 1) * size] for at in range(BATCH)]
        return [
            open_frame(part, encoding, FrameLimits(), height=SIDE, width=SIDE) for part in parts
        ]
    files = [simplejpeg.encode_jpeg(image, quality=90) for image in images]
    return [open_frame(file, encoding, FrameLimits()) for file in files]


def clients(target: str) -> float:
    """Bytes of a ``RewardClient`` that has asked something."""
    opened: list[RewardClient] = []
    held, sizes = [], range(50, 301, 50)
    for size in sizes:
        while len(opened) < size:
            opened.append(RewardClient(target))
            opened[-1].models()
        held.append(_resident())
    for client in opened:
        client.close()
    return _slope(np.asarray(sizes), held)


def client_environments(target: str) -> float:
    """Bytes of an environment of a client's ``VectorEpisodes``, between two due steps."""
    held, sizes = [], range(BATCH, 6 * BATCH + 1, BATCH)
    with RewardClient(target) as client:
        opened = []
        for number, _ in enumerate(sizes):
            episodes = client.vector_episodes(BATCH, TASK, ["progress"], interval=INTERVAL)
            episodes.reset(frames(BATCH, number))
            for _ in range(INTERVAL - 1):
                episodes.step(None)
            opened.append(episodes)
            held.append(_resident())
        for episodes in opened:
            episodes.close()
    return _slope(np.asarray(sizes), held)


def alone(work: Callable[..., T], *given: object) -> T:
    """Runs work in a process of its own, whose memory nothing else has used."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *given).result()


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def _slope(counts: np.ndarray[tuple[int], np.dtype[np.int64]], held: Sequence[int]) -> float:
    """Bytes for each more, without the first, which also pays for what is made once."""
    return float(np.polyfit(counts[1:], np.asarray(held[1:], np.float64), 1)[0])
