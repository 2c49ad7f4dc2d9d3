"""Frames as data URLs, each content once."""

from __future__ import annotations

import asyncio
import base64
import io
from concurrent.futures import Executor
from typing import Final

import simplejpeg
from cachetools import LRUCache
from PIL import Image

from lrm_server.frames import Encoding, Frame

LOSSLESS_PIXELS: Final = 512 * 512
"""Raw frames up to this size go as PNG; larger ones as JPEG, or they would take megabytes."""
JPEG_QUALITY: Final = 95


class ImageUrls:
    """Encodes frames in threads.

    JPEG and PNG frames go as they came, once it is known that they decode. Holds the
    URLs of the frames used last, up to ``max_bytes``.
    """

    def __init__(self, executor: Executor | None, max_bytes: int) -> None:
        self._executor = executor
        self._ready: LRUCache[bytes, str] = LRUCache(max_bytes, getsizeof=len)

    async def get(self, frame: Frame) -> str:
        """``data:image/...;base64,...``.

        Raises:
            DomainError: IMAGE_UNDECODABLE.
        """
        found = self._ready.get(frame.digest)
        if found is None:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._executor, data_url, frame)
            if len(found) <= self._ready.maxsize:
                self._ready[frame.digest] = found
        return found


def data_url(frame: Frame) -> str:
    """A frame as a data URL.

    Raises:
        DomainError: IMAGE_UNDECODABLE; an endpoint would say less clearly what is wrong.
    """
    pixels = frame.pixels()
    frame.release()
    if frame.encoding is not Encoding.RAW:
        return _url(frame.encoding.value, bytes(frame.data))
    if frame.height * frame.width > LOSSLESS_PIXELS:
        jpeg = simplejpeg.encode_jpeg(
            pixels, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444"
        )
        return _url("jpeg", jpeg)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return _url("png", file.getvalue())


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
