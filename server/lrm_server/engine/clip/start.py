"""Opens an engine on a CLIP checkpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lrm_server.engine.admission import Admission
from lrm_server.engine.broken_extensions import install
from lrm_server.engine.checkpoint_files import fingerprint
from lrm_server.engine.holdings import DEFAULT_LIMITS, QueueLimits
from lrm_server.engine.places import FixedPlaces
from lrm_server.errors import invalid
from lrm_server.threads import in_daemon_thread

# Before transformers' image processors import torchvision.
install()

from lrm_server.engine.clip.clip_engine import ClipEngine  # noqa: E402
from lrm_server.engine.clip.clip_model import ClipTowers, NumberType  # noqa: E402

BATCHES = 2
"""Past the queue: one that is computed, and one that is prepared meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """What CLIP is started with; ``config.Settings`` says what each means."""

    dtype: NumberType = "auto"
    max_sequences: int = 128
    queue: QueueLimits = DEFAULT_LIMITS
    frame_threads: int = 2


@asynccontextmanager
async def open_clip_engine(checkpoint: Path, options: ClipOptions) -> AsyncIterator[ClipEngine]:
    """An engine whose weights are loaded.

    Args:
        checkpoint: folder of the weights, as ``checkpoint_files.locate`` finds it.
        options: sizes and limits; ``max_sequences`` bounds a batch.

    Raises:
        DomainError: INVALID_ARGUMENT of ``model`` when the folder holds no CLIP.
    """
    if not any(checkpoint.glob("*.safetensors")):
        raise invalid(
            "model",
            f"{checkpoint} holds no safetensors. Weights as .bin are pickles, which are not "
            "loaded: choose a CLIP that is published as safetensors, or convert it.",
        )
    towers = await in_daemon_thread(lambda: ClipTowers(checkpoint, options.dtype))
    with (
        ThreadPoolExecutor(options.frame_threads, "clip-frames") as decoding,
        ThreadPoolExecutor(1, "clip") as computing,
    ):
        yield ClipEngine(
            towers,
            decoding,
            computing,
            Admission(FixedPlaces(BATCHES * options.max_sequences), options.queue),
            fingerprint([checkpoint], towers.dtype),
            most=options.max_sequences,
        )
