"""Which frames' patches the engine's core still has, so that a growing window sends each once."""

from __future__ import annotations

from collections.abc import Sequence

from cachetools import LRUCache
from vllm.multimodal.inputs import MultiModalKwargsItem

from lrm_server.engine.frame_inputs import FrameInput


class SentFrames:
    """A guess at the content of the core's own cache of patches.

    A wrong guess costs time alone: the core answers that it lacks the patches, and
    the request is sent again with all of them.
    """

    def __init__(self, max_bytes: int) -> None:
        self._sent: LRUCache[str, int] = LRUCache(max_bytes, getsizeof=lambda nbytes: nbytes)

    def items(self, frames: Sequence[FrameInput]) -> list[MultiModalKwargsItem | None]:
        """What a request for these frames must bring; None for what the core has."""
        # All that is known is known before this request's own frames push it out.
        items = [None if frame.key in self._sent else frame.item for frame in frames]
        for frame in frames:
            if self._sent.get(frame.key) is None and frame.nbytes <= self._sent.maxsize:
                self._sent[frame.key] = frame.nbytes
        return items

    def forget(self, frames: Sequence[FrameInput]) -> None:
        """The core lacks some of these."""
        for frame in frames:
            self._sent.pop(frame.key, None)
