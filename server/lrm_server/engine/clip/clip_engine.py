"""The heads' embedder on a CLIP: frames off the event loop, batches, what is known is kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from lrm_server.engine.admission import Admission
from lrm_server.engine.clip.batching import Batcher, Kept
from lrm_server.engine.clip.clip_model import ClipTowers, Vector
from lrm_server.engine.embedder import Embeddings
from lrm_server.engine.protocol import EngineStatus, EngineTimings, FrameSlot
from lrm_server.errors import DomainError, ErrorCode, named
from lrm_server.frames import Frame

logger = logging.getLogger(__name__)

KEPT = 16_384
"""Vectors of frames, and as many of texts; 2 to 4 KiB each."""
WAIT_SECONDS = 0.002


class ClipEngine:
    """Implements ``engine.embedder.Embedder``.

    Args:
        towers: the model.
        decoding: threads that decode and prepare frames.
        computing: the one thread that the model runs in.
        admission: bounds the queries at once.
        fingerprint: of the checkpoint.
        most: frames or texts in a batch.
    """

    def __init__(
        self,
        towers: ClipTowers,
        decoding: Executor,
        computing: ThreadPoolExecutor,
        admission: Admission,
        fingerprint: str,
        *,
        most: int,
    ) -> None:
        self._towers = towers
        self._decoding = decoding
        self._admission = admission
        self._fingerprint = fingerprint
        self._images = Batcher(towers.embed_images, computing, most=most, wait_seconds=WAIT_SECONDS)
        self._texts = Batcher(towers.embed_texts, computing, most=most, wait_seconds=WAIT_SECONDS)
        self._known_images: Kept[bytes, Vector] = Kept(KEPT)
        self._known_texts: Kept[str, Vector] = Kept(KEPT)

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the preparation of frames."""
        return self._fingerprint

    async def status(self) -> EngineStatus:
        """The model lives in this process: while it answers at all, it can answer."""
        return self._admission.status()

    async def embed(
        self, frames: Sequence[FrameSlot], texts: Sequence[str], deadline: float | None
    ) -> Embeddings:
        """Vectors of frames and texts; see ``engine.embedder.Embedder``."""
        async with self._admission.enter(deadline, [slot.frame for slot in frames]) as place:
            began = time.monotonic()
            with _failures():
                images, words = await asyncio.gather(
                    asyncio.gather(*map(self._image, frames)),
                    asyncio.gather(*map(self._text, texts)),
                )
            spent_ms = 1000 * (time.monotonic() - began)
            timings = EngineTimings(queue_ms=place.waited_ms, engine_ms=spent_ms)
            return Embeddings(np.stack(images), np.stack(words), timings)

    async def _image(self, slot: FrameSlot) -> Vector:
        frame = slot.frame
        with named(slot.name):
            return await self._known_images.get(frame.digest, lambda: self._embed_frame(frame))

    async def _embed_frame(self, frame: Frame) -> Vector:
        loop = asyncio.get_running_loop()

        def prepare() -> torch.Tensor:
            prepared = self._towers.prepare(frame.pixels())
            frame.release()
            return prepared

        return await self._images.submit(await loop.run_in_executor(self._decoding, prepare))

    async def _text(self, text: str) -> Vector:
        return await self._known_texts.get(text, lambda: self._embed_text(text))

    async def _embed_text(self, text: str) -> Vector:
        self._towers.check_text(text)
        return await self._texts.submit(text)


@contextmanager
def _failures() -> Iterator[None]:
    """What the model itself fails with (memory, a device that is lost) is told in the log."""
    try:
        yield
    except RuntimeError as error:
        logger.exception("CLIP failed on a batch")
        raise DomainError(
            ErrorCode.INTERNAL, "CLIP failed on this query; the server's log tells why."
        ) from error
