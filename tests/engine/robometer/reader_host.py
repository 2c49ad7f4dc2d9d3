"""A reader on a real engine, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, TypeVar

import numpy as np
import yaml

from lrm_server.engine.environment import prepare_environment
from lrm_server.engine.frame_reader import FrameQuestion, FrameReadings
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.frame_heads import frame_question
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.query import Query, WindowFrame
from lrm_server.heads.window import Shown, shown
from tests.engine.robometer.checkpoint import Published

T = TypeVar("T")
MAX_IMAGES = 64


class ReaderHost:
    """The loop that a reader lives in, and what runs on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: Any) -> None:
        self.loop = loop
        self.reader = reader

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 120.0) -> T:
        """Waits for a coroutine that runs in the reader's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def read(self, question: FrameQuestion) -> FrameReadings:
        """What the heads say of one turn."""
        return self.run(self.reader.read_frames(question))

    def read_all(self, questions: Sequence[FrameQuestion]) -> list[FrameReadings]:
        """What the heads say of turns that are asked at once."""

        async def ask() -> list[FrameReadings]:
            return await asyncio.gather(*(self.reader.read_frames(each) for each in questions))

        return self.run(ask())


@contextmanager
def reader_host(published: Published, dtype: str) -> Iterator[ReaderHost]:
    """A reader whose engine runs, for as long as the block lasts."""
    prepare_environment()
    from lrm_server.engine.robometer.start import open_frame_reader
    from lrm_server.engine.start import EngineOptions

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="reader-host", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(1800)

    options = EngineOptions(
        dtype=dtype, enforce_eager=True, max_sequences=16, max_images=MAX_IMAGES, kv_cache_gib=0.25
    )
    opening = open_frame_reader(published.checkpoint, published.base, options)
    try:
        reader, llm = run(opening.__aenter__())
        try:
            run(llm.prove(_nothing))
            yield ReaderHost(loop, reader)
        finally:
            run(opening.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def _nothing() -> None:
    """Proves an engine to be ready without asking it."""


def profile(name: str) -> FrameProfile:
    """A built-in profile."""
    built_in = resources.files("lrm_server.heads") / "profiles" / f"{name}.yaml"
    return FrameProfile.model_validate(yaml.safe_load(built_in.read_text("utf-8")))


def trajectory(task: str, frames: Sequence[np.ndarray]) -> FrameQuestion:
    """The question that asks for progress and success at every frame."""
    query = Query(head="progress", task=task)
    return frame_question(profile("robometer_progress"), query, _all(frames))


def comparison(
    task: str, first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> FrameQuestion:
    """The question which of two trajectories is the better."""
    query = Query(head="preference", task=task)
    return frame_question(profile("robometer_preference"), query, _all(first), _all(second))


def _all(frames: Sequence[np.ndarray]) -> Shown:
    """All frames, also where the built-in profile would thin them."""
    window = profile("robometer_progress").window.model_copy(update={"max_frames": MAX_IMAGES})
    return shown(window, [WindowFrame(frame_of(each)) for each in frames], "progress")


def frame_of(pixels: np.ndarray) -> Frame:
    """Raw pixels as a frame."""
    height, width = pixels.shape[:2]
    return open_frame(pixels.tobytes(), Encoding.RAW, FrameLimits(), height=height, width=width)


def pictures(count: int, seed: int, size: int = 64) -> list[np.ndarray]:
    """uint8 (size, size, 3) each: sixteen fields of random colours."""
    random = np.random.default_rng(seed)
    field = np.ones((size // 4, size // 4, 1))
    return [
        np.kron(random.integers(0, 256, (4, 4, 3)), field).astype(np.uint8) for _ in range(count)
    ]
