"""Frames as the server holds them: checked before decoding, decoded once, known by content.

A ``Frame`` keeps the bytes that came over the wire and decodes them when the
pixels are first asked for. The pixels can be dropped again (``release``), so
that an idle episode holds compressed images and not raw ones.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import simplejpeg
from blake3 import blake3
from PIL import Image

from lrm_server.errors import DomainError, ErrorCode, invalid

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (height, width, 3), RGB."""


class Encoding(str, Enum):
    """How the bytes of a frame are to be read."""

    JPEG = "jpeg"
    PNG = "png"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a frame may be, checked before its pixels are decoded."""

    max_bytes: int = 8 * 1024 * 1024
    max_pixels: int = 4096 * 2160
    min_side: int = 8


class Frame:
    """One camera frame.

    Holds the wire's bytes for as long as it lives, and uint8 (height, width, 3)
    RGB pixels from the first call of ``pixels`` until ``release``.

    Attributes:
        height: pixels.
        width: pixels.
        digest: 16 bytes, BLAKE3 of the encoding, the size and the content.
    """

    __slots__ = ("_data", "_encoding", "_lock", "_pixels", "digest", "height", "width")

    def __init__(
        self, data: bytes | memoryview, encoding: Encoding, height: int, width: int
    ) -> None:
        self._data = data
        self._encoding = encoding
        self._pixels: Pixels | None = None
        self._lock = threading.Lock()
        self.height = height
        self.width = width
        header = f"{encoding.value} {height} {width} ".encode()
        # Caches that all clients share rest on it, and every raw pixel goes through it: no
        # two contents may share a digest, and BLAKE2b took seven times as long.
        self.digest = blake3(header).update(data).digest(length=16)

    @property
    def encoding(self) -> Encoding:
        """How ``data`` is to be read."""
        return self._encoding

    @property
    def data(self) -> bytes | memoryview:
        """The bytes as they came."""
        return self._data

    @property
    def nbytes(self) -> int:
        """Bytes that this frame keeps while its pixels are released."""
        return len(self._data)

    def pixels(self) -> Pixels:
        """Decoded pixels, uint8 (height, width, 3), RGB; decoded at most once at a time.

        Raises:
            DomainError: IMAGE_UNDECODABLE when the bytes are truncated or broken.
        """
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode()
            return self._pixels

    def release(self) -> None:
        """Drops the decoded pixels; the next ``pixels`` decodes again."""
        with self._lock:
            if self._encoding is not Encoding.RAW:
                self._pixels = None

    @property
    def ready(self) -> bool:
        """Whether ``pixels`` has nothing to decode."""
        return self._encoding is Encoding.RAW or self._pixels is not None

    def detach(self) -> None:
        """Copies the bytes if they are part of a larger message, which they would keep alive."""
        with self._lock:
            if isinstance(self._data, memoryview):
                self._data = bytes(self._data)
                if self._encoding is Encoding.RAW:
                    self._pixels = None

    def _decode(self) -> Pixels:
        if self._encoding is Encoding.RAW:
            flat = np.frombuffer(self._data, dtype=np.uint8)
            return flat.reshape(self.height, self.width, 3)
        try:
            if self._encoding is Encoding.JPEG:
                decoded = simplejpeg.decode_jpeg(
                    self._data, colorspace="RGB", fastdct=False, fastupsample=False
                )
                return np.asarray(decoded, dtype=np.uint8)
            with Image.open(io.BytesIO(self._data), formats=["PNG"]) as image:
                return np.asarray(image.convert("RGB"), dtype=np.uint8)
        except Exception as error:
            # Pillow and libjpeg raise whatever a broken file leads them to.
            raise undecodable(self._encoding, str(error)) from error


def undecodable(encoding: Encoding, cause: str) -> DomainError:
    """The error of an image whose bytes cannot be decoded."""
    return DomainError(
        ErrorCode.IMAGE_UNDECODABLE,
        f"the image is not a whole {encoding.value.upper()}: {cause or 'truncated or corrupt'}. "
        "Send the complete bytes of one image in the encoding that is named.",
    )


def open_frame(
    data: bytes | memoryview,
    encoding: Encoding,
    limits: FrameLimits,
    *,
    height: int = 0,
    width: int = 0,
) -> Frame:
    """Checks a frame's size from its header alone and wraps its bytes.

    Args:
        data: the bytes of one image, or raw uint8 RGB of height x width x 3.
        encoding: what ``data`` is.
        limits: refused beyond them, before any pixel is decoded.
        height: of a raw frame, in pixels; ignored for others.
        width: of a raw frame, in pixels; ignored for others.

    Raises:
        DomainError: IMAGE_TOO_LARGE, IMAGE_UNDECODABLE or INVALID_ARGUMENT; its
            field is left for the caller, who knows which frame it is.
    """
    if len(data) == 0:
        raise invalid("", "the frame is empty: send the bytes of an image.")
    check_bytes(len(data), limits)
    if encoding is Encoding.RAW:
        if height < 1 or width < 1:
            raise invalid("", "a raw frame needs its height and width in pixels.")
        if len(data) != height * width * 3:
            raise invalid(
                "",
                f"a raw frame of {height}x{width} has {height * width * 3} bytes "
                f"(uint8 RGB, 3 channels) and {len(data)} came: check shape, dtype and channels.",
            )
    else:
        height, width = _encoded_size(data, encoding)
    if height * width > limits.max_pixels:
        raise DomainError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"the frame has {height}x{width} pixels and the limit is {limits.max_pixels} pixels: "
            "send a smaller image.",
        )
    if min(height, width) < limits.min_side:
        raise invalid(
            "",
            f"the frame is {height}x{width} pixels; each side needs at least {limits.min_side}.",
        )
    return Frame(data, encoding, height, width)


def check_bytes(size: int, limits: FrameLimits) -> None:
    """Refuses a frame of more bytes than one may have.

    Raises:
        DomainError: IMAGE_TOO_LARGE.
    """
    if size > limits.max_bytes:
        raise DomainError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"the frame has {size} bytes and the limit is {limits.max_bytes}: "
            "send a smaller or a compressed image.",
        )


def _encoded_size(data: bytes | memoryview, encoding: Encoding) -> tuple[int, int]:
    """Height and width from the header of a JPEG or PNG; refuses other channel layouts."""
    try:
        height, width, layout = _header(data, encoding)
    except Image.DecompressionBombError as error:
        raise DomainError(ErrorCode.IMAGE_TOO_LARGE, str(error)) from error
    except Exception as error:
        raise undecodable(encoding, str(error)) from error
    if layout not in ("RGB", "YCbCr"):
        raise invalid(
            "",
            f"the {encoding.value.upper()} is {layout}; send a colour image with three channels "
            "(RGB) of 8 bits.",
        )
    return height, width


def _header(data: bytes | memoryview, encoding: Encoding) -> tuple[int, int, str]:
    """Height, width and layout of the channels, as the image's own library names them."""
    if encoding is Encoding.JPEG:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        return int(height), int(width), str(colorspace)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return image.height, image.width, image.mode
