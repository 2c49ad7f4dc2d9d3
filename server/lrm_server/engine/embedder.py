"""What heads of similarity ask of a model. This module imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lrm_server.engine.protocol import EngineStatus, EngineTimings, FrameSlot


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Frames and texts as vectors of one space.

    Attributes:
        frames: float32 (frames, width), each of length 1.
        texts: float32 (texts, width), each of length 1.
        timings: where the time went.
    """

    frames: npt.NDArray[np.float32]
    texts: npt.NDArray[np.float32]
    timings: EngineTimings


class Embedder(Protocol):
    """Turns frames and texts into vectors; safe to call from many tasks at once."""

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the preparation of frames."""
        ...

    async def embed(
        self, frames: Sequence[FrameSlot], texts: Sequence[str], deadline: float | None
    ) -> Embeddings:
        """The vectors, in order.

        Raises:
            DomainError: as an ``Engine``'s methods do, and INVALID_ARGUMENT of ``task``
                for a text that is longer than the model reads.
        """
        ...

    async def status(self) -> EngineStatus:
        """Asks the engine itself, not a flag beside it."""
        ...
