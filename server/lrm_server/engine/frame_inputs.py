"""Frames as vLLM takes them: prepared once, kept while there is room, known by content."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache

import torch
from cachetools import LRUCache
from vllm.multimodal.inputs import (
    BaseMultiModalField,
    MultiModalFieldConfig,
    MultiModalFieldElem,
    MultiModalKwargsItem,
)

from lrm_server.engine.patches import Patches, Preparation, prepare
from lrm_server.frames import Frame

IMAGE = "image"
LIGHT_PIXELS = 256 * 256


@dataclass(frozen=True, slots=True)
class FrameInput:
    """One prepared frame.

    Attributes:
        key: content and preparation; vLLM shares vision features and prompt
            prefixes between frames of one key.
        item: the patches as vLLM's vision tower takes them.
        tokens: how many image tokens it takes in the prompt.
        nbytes: memory of the patches.
    """

    key: str
    item: MultiModalKwargsItem
    tokens: int
    nbytes: int


class FrameInputs:
    """Prepares frames in threads, each content once.

    Holds the patches of the frames that were used last, up to ``max_bytes``
    (1.5 KiB a patch; 96 KiB for a frame of 128x128 pixels).
    """

    def __init__(self, how: Preparation, executor: Executor, max_bytes: int) -> None:
        self._how = how
        self._executor = executor
        self._ready: LRUCache[bytes, FrameInput] = LRUCache(
            max_bytes, getsizeof=lambda frame: frame.nbytes
        )
        self._pending: dict[bytes, asyncio.Future[FrameInput]] = {}

    async def get(self, frame: Frame) -> FrameInput:
        """The prepared frame; waits for another caller who is preparing the same one.

        Raises:
            DomainError: IMAGE_UNDECODABLE, or INVALID_ARGUMENT of its shape.
        """
        if (found := self.at_once(frame)) is not None:
            return found
        key = frame.digest
        pending = self._pending.get(key)
        if pending is None:
            loop = asyncio.get_running_loop()
            pending = loop.run_in_executor(self._executor, self._prepare, frame)
            self._pending[key] = pending
            pending.add_done_callback(lambda done: self._finished(key, done))
        # A caller who goes away must not take the frame from the others.
        return await asyncio.shield(pending)

    def at_once(self, frame: Frame) -> FrameInput | None:
        """The prepared frame, if it is there or takes less time than a thread would."""
        key = frame.digest
        found: FrameInput | None = self._ready.get(key)
        if found is None and key not in self._pending and self._is_light(frame):
            found = self._prepare(frame)
            self._keep(key, found)
        return found

    def _finished(self, key: bytes, done: asyncio.Future[FrameInput]) -> None:
        del self._pending[key]
        if not done.cancelled() and done.exception() is None:
            self._keep(key, done.result())

    def _keep(self, key: bytes, prepared: FrameInput) -> None:
        if prepared.nbytes <= self._ready.maxsize:
            self._ready[key] = prepared

    def _is_light(self, frame: Frame) -> bool:
        """Whether cutting patches takes less time than handing the frame to a thread and back."""
        size = (frame.height, frame.width)
        return (
            frame.ready
            and frame.height * frame.width <= LIGHT_PIXELS
            and self._how.target_size(*size) == size
        )

    def _prepare(self, frame: Frame) -> FrameInput:
        patches = prepare(frame.pixels(), self._how)
        frame.release()
        return FrameInput(
            key=f"{frame.digest.hex()}-{self._how.digest}",
            item=_item(patches),
            tokens=patches.tokens,
            nbytes=patches.values.nbytes + patches.grid.nbytes,
        )


def _item(patches: Patches) -> MultiModalKwargsItem:
    """What ``MultiModalKwargsItems.from_hf_inputs`` makes of one image, in a tenth of the time."""
    values, grid = _fields(len(patches.values))
    return MultiModalKwargsItem(
        {
            "pixel_values": MultiModalFieldElem(patches.values, values),
            "image_grid_thw": MultiModalFieldElem(patches.grid, grid),
        }
    )


@lru_cache(256)
def _fields(count: int) -> tuple[BaseMultiModalField, BaseMultiModalField]:
    """How an image of so many patches joins others in a batch: its patches, and its grid."""
    values = MultiModalFieldConfig.flat_from_sizes(IMAGE, torch.tensor([count]))
    grid = MultiModalFieldConfig.batched(IMAGE, keep_on_cpu=True)
    (patches,) = values.build_elems("pixel_values", torch.empty(count, 0))
    (sizes,) = grid.build_elems("image_grid_thw", torch.empty(1, 3))
    return patches.field, sizes.field
