"""Which frames' patches the engine's core still has, so that each is sent once.

An episode's initial frame is part of every question about its progress, and the frame of one
query is the previous one of the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from cachetools import LRUCache
from vllm.multimodal.inputs import MultiModalKwargsItem

from lrm_server.engine.media_inputs import MediaInput

Output = TypeVar("Output")
Items: TypeAlias = list[MultiModalKwargsItem | None]
"""What a request brings of each frame and video; None for what the core is taken to have."""


class SentMedia:
    """A guess at the content of the core's own cache of patches.

    A wrong guess costs time alone: the core answers that it lacks the patches, and
    the request is sent again with all of them.

    Args:
        max_bytes: of the core's cache; 0 where it has none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._sent: LRUCache[str, int] = LRUCache(max_bytes, getsizeof=lambda nbytes: nbytes)

    async def ask(
        self,
        media: Sequence[MediaInput],
        send: Callable[[Items], Awaitable[Output]],
        lacked: Callable[[Output], bool],
    ) -> Output:
        """Sends a request with what the core lacks, and again with everything after a wrong guess.

        Args:
            media: that the request is about.
            send: sends it with these items and waits for its output.
            lacked: whether an output says that the core lacked patches.
        """
        items = self.items(media)
        output = await send(items)
        if None in items and lacked(output):
            self.forget(media)
            output = await send(self.items(media))
        return output

    def items(self, media: Sequence[MediaInput]) -> Items:
        """What a request for these must bring."""
        # All that is known is known before this request's own frames push it out.
        items = [None if each.key in self._sent else each.item for each in media]
        for each in media:
            if self._sent.get(each.key) is None and each.nbytes <= self._sent.maxsize:
                self._sent[each.key] = each.nbytes
        return items

    def forget(self, media: Sequence[MediaInput]) -> None:
        """The core lacks some of these."""
        for each in media:
            self._sent.pop(each.key, None)
