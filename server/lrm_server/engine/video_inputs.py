"""Videos as vLLM takes them: prepared in threads, kept while there is room, known by content."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache
from transformers import BatchFeature
from vllm.multimodal.inputs import (
    MultiModalFieldConfig,
    MultiModalKwargsItem,
    MultiModalKwargsItems,
)

from lrm_server.engine.protocol import VideoSlot
from lrm_server.engine.video_patches import VideoPreparation, prepare_video, step_times
from lrm_server.errors import named
from lrm_server.frames import Frame, Pixels

VIDEO = "video"


@dataclass(frozen=True, slots=True)
class VideoInput:
    """One prepared video.

    Attributes:
        key: content and preparation of the frames; vLLM shares vision features between
            videos of one key.
        item: the patches as vLLM's vision tower takes them.
        tokens: video tokens of one step of time.
        times: of each step, in seconds.
        nbytes: memory of the patches.
    """

    key: str
    item: MultiModalKwargsItem
    tokens: int
    times: tuple[float, ...]
    nbytes: int


class VideoInputs:
    """Prepares videos in threads.

    Holds the patches of the videos that were used last, up to ``max_bytes`` (1.5 KiB a
    patch; 48 KiB for a frame of 128x128 pixels).
    """

    def __init__(self, how: VideoPreparation, executor: Executor, max_bytes: int) -> None:
        self._how = how
        self._executor = executor
        self._ready: LRUCache[str, VideoInput] = LRUCache(
            max_bytes, getsizeof=lambda video: video.nbytes
        )

    async def get(self, slot: VideoSlot) -> VideoInput:
        """The prepared video.

        Raises:
            DomainError: IMAGE_UNDECODABLE naming the frame, or INVALID_ARGUMENT of its shape.
        """
        content = hashlib.blake2b(
            b"".join(frame.digest for frame in slot.frames), digest_size=16
        ).hexdigest()
        times = step_times(slot.times, self._how.temporal_patch)
        # The same frames may come at other times: the times are words of the prompt.
        key = f"{content}-{self._how.digest}"
        found = self._ready.get(key)
        if found is None:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._executor, self._prepare, slot, key)
            if found.nbytes <= self._ready.maxsize:
                self._ready[key] = found
        return VideoInput(found.key, found.item, found.tokens, times, found.nbytes)

    def _prepare(self, slot: VideoSlot, key: str) -> VideoInput:
        names = slot.names or [""] * len(slot.frames)
        patches = prepare_video(list(map(_pixels, slot.frames, names)), self._how)
        for frame in slot.frames:
            frame.release()
        features = BatchFeature(
            {
                "pixel_values_videos": patches.values,
                "video_grid_thw": patches.grid.unsqueeze(0),
            }
        )
        config: dict[str, Any] = {
            "pixel_values_videos": MultiModalFieldConfig.flat_from_sizes(
                VIDEO, patches.grid.prod().unsqueeze(0)
            ),
            "video_grid_thw": MultiModalFieldConfig.batched(VIDEO, keep_on_cpu=True),
        }
        (item,) = MultiModalKwargsItems.from_hf_inputs(features, config)[VIDEO]
        nbytes = patches.values.nbytes + patches.grid.nbytes
        return VideoInput(key, item, patches.tokens, (), nbytes)


def _pixels(frame: Frame, name: str) -> Pixels:
    with named(name):
        return frame.pixels()
