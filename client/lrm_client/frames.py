"""Frames on their way to the wire: what is accepted, and how it is encoded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrm_client.errors import InvalidRequest
from lrm_client.shared_memory import Lease, SharedMemory
from lrm_client.wire import reward_pb2 as pb

FrameEncoding: TypeAlias = Literal["auto", "raw", "jpeg", "png"]

RAW_PIXELS: Final = 256 * 256
"""``auto`` sends arrays of at most this many pixels raw, and larger ones as JPEG."""
JPEG_QUALITY: Final = 95

_JPEG_START: Final = b"\xff\xd8\xff"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_WIRE_ENCODING: Final = {
    "jpeg": pb.ENCODING_JPEG,
    "png": pb.ENCODING_PNG,
    "raw": pb.ENCODING_RAW,
}


class SupportsArray(Protocol):
    """What numpy can view as an array, a torch tensor among others."""

    def __array__(self) -> NDArray[Any]: ...


class EncodedFrame(NamedTuple):
    """A frame as it travels. Height and width are pixels, and 0 for an encoded image."""

    encoding: Literal["jpeg", "png", "raw"]
    data: bytes
    height: int = 0
    width: int = 0


FrameLike: TypeAlias = NDArray[np.uint8] | Image.Image | bytes | EncodedFrame | SupportsArray


@dataclass(frozen=True, slots=True)
class FrameEncoder:
    """How arrays and images are encoded. Bytes that are encoded already travel as they are.

    Attributes:
        encoding: ``raw`` and ``png`` lose nothing. ``auto``, the default, sends up to
            256 x 256 pixels raw, the size at which learners render, and larger frames as
            JPEG, whose bytes are some twenty times fewer than a camera's raw ones.
        quality: of JPEG, 1 to 100.
        shared: where raw frames go for a server on this machine, which a client makes
            when it is told ``shared_memory``; ``auto`` is then raw at every size. None
            for frames that travel in their requests.

    Raises:
        ValueError: an unknown encoding, a quality out of range, or shared memory for
            frames that are not raw.
    """

    encoding: FrameEncoding = "auto"
    quality: int = JPEG_QUALITY
    shared: SharedMemory | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.encoding not in ("auto", "raw", "jpeg", "png"):
            raise ValueError(f"encoding must be auto, raw, jpeg or png, not {self.encoding!r}")
        if self.shared is not None and self.encoding not in ("auto", "raw"):
            raise ValueError(
                f"shared_memory holds raw frames and the encoding is {self.encoding}: make it "
                "auto or raw, or leave shared_memory out"
            )
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be 1 to 100, not {self.quality}")

    def encode(self, frame: FrameLike) -> EncodedFrame:
        """Encodes one frame.

        Args:
            frame: uint8 (H, W, 3) RGB as an array or a tensor on any device, a PIL image
                of any mode, bytes of a JPEG or PNG file, or a frame encoded before.

        Raises:
            InvalidRequest: another dtype or shape, an empty frame, or other bytes.
        """
        if isinstance(frame, EncodedFrame):
            return frame
        if isinstance(frame, bytes | bytearray | memoryview):
            return _from_file_bytes(bytes(frame))
        if isinstance(frame, Image.Image):
            pixels = np.asarray(frame.convert("RGB"))
        else:
            pixels = as_array(frame)
        _check_pixels(pixels, 3, "(H, W, 3)")
        height, width = pixels.shape[:2]
        encoding = self.encoding
        if encoding == "auto":
            small = height * width <= RAW_PIXELS
            encoding = "raw" if small or self.shared is not None else "jpeg"
        if encoding == "raw":
            return EncodedFrame("raw", pixels.tobytes(), height, width)
        buffer = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if encoding == "jpeg":
            # Colour at full resolution: small objects carry their colour in few pixels.
            image.save(buffer, format="JPEG", quality=self.quality, subsampling=0)
        else:
            image.save(buffer, format="PNG", compress_level=1)
        return EncodedFrame(encoding, buffer.getvalue())

    def encode_many(self, frames: FrameLike | Sequence[FrameLike]) -> list[EncodedFrame]:
        """Encodes an array or tensor of uint8 (N, H, W, 3), or a sequence of frames.

        Raises:
            InvalidRequest: as ``encode``.
        """
        if isinstance(frames, list | tuple) and not isinstance(frames, EncodedFrame):
            return [self.encode(frame) for frame in frames]
        pixels = as_array(cast(FrameLike, frames))
        _check_pixels(pixels, 4, "(N, H, W, 3)")
        return [self.encode(frame) for frame in pixels]


class FrameTable:
    """The frames of one request, each once, in the order of their indices."""

    def __init__(self, encoder: FrameEncoder) -> None:
        self._encoder = encoder
        self._index: dict[Any, int] = {}
        # Keys are identities, which hold only while their objects live.
        self._kept: list[FrameLike] = []
        self._frames: list[EncodedFrame] = []

    def add(self, frame: FrameLike) -> int:
        """The frame's index: a new one, or the one that the same object has already."""
        key = _identity(frame)
        index = self._index.get(key)
        if index is None:
            index = len(self._frames)
            self._frames.append(self._encoder.encode(frame))
            self._kept.append(frame)
            self._index[key] = index
        return index

    def fill(self, batch: pb.FrameBatch) -> Lease | None:
        """Writes the frames into the request's own batch.

        Returns:
            What holds raw frames in shared memory until the request is answered; None
            when all frames travel in the request.
        """
        lease = self._encoder.shared.lease() if self._encoder.shared is not None else None
        return lease if fill_batch(batch, self._frames, lease) else None


def fill_batch(batch: pb.FrameBatch, frames: Sequence[EncodedFrame], lease: Lease | None) -> bool:
    """Writes one raw tensor when every frame is raw and of one size, else a list.

    The batch is the request's own: a message that is put into another is copied, and the
    frames of a learner are tens of megabytes.

    Args:
        batch: of a request.
        frames: as they travel.
        lease: of shared memory for the raw ones; None for none.

    Returns:
        Whether the raw ones are in shared memory.
    """
    raw = [frame.data for frame in frames if frame.encoding == "raw"]
    shared = lease.put(raw) if lease is not None and raw else None
    sizes = {(frame.encoding, frame.height, frame.width) for frame in frames}
    if len(sizes) == 1 and raw:
        tensor = batch.tensor
        tensor.count, tensor.height, tensor.width = len(raw), frames[0].height, frames[0].width
        if shared is None:
            tensor.data = b"".join(raw)
        else:
            tensor.shared.CopyFrom(shared)
        return shared is not None
    batch.list.SetInParent()
    for frame in frames:
        sent = batch.list.frames.add(
            encoding=_WIRE_ENCODING[frame.encoding], height=frame.height, width=frame.width
        )
        if shared is None or frame.encoding != "raw":
            sent.data = frame.data
        else:
            sent.shared.CopyFrom(shared)
            shared.offset += len(frame.data)
    return shared is not None


def as_array(frame: Any) -> NDArray[Any]:
    """Views what numpy or torch hold as an array, from any device.

    Raises:
        InvalidRequest: the object is no array.
    """
    if isinstance(frame, np.ndarray):
        return frame
    for method in ("detach", "cpu"):
        if hasattr(frame, method):
            frame = getattr(frame, method)()
    if not hasattr(frame, "__array__"):
        raise InvalidRequest(
            f"a frame must be an array, a PIL image or encoded bytes, not {type(frame).__name__}",
            field="frame",
        )
    return np.asarray(frame)


def _check_pixels(pixels: NDArray[Any], dimensions: int, shape: str) -> None:
    if np.issubdtype(pixels.dtype, np.floating):
        raise InvalidRequest(
            f"a frame must be uint8, not {pixels.dtype}: multiply values in [0, 1] by 255 and "
            "cast to uint8",
            field="frame",
        )
    if pixels.dtype != np.uint8:
        raise InvalidRequest(f"a frame must be uint8, not {pixels.dtype}", field="frame")
    if pixels.ndim != dimensions or pixels.shape[-1] != 3:
        channels_first = pixels.ndim == dimensions and pixels.shape[-3] == 3
        hint = "; move the channels to the end" if channels_first else ""
        raise InvalidRequest(
            f"a frame must be RGB of shape {shape}, not {pixels.shape}{hint}", field="frame"
        )
    if 0 in pixels.shape[-3:-1]:
        raise InvalidRequest(f"the frame is empty: its shape is {pixels.shape}", field="frame")


def _from_file_bytes(data: bytes) -> EncodedFrame:
    if data.startswith(_JPEG_START):
        return EncodedFrame("jpeg", data)
    if data.startswith(_PNG_START):
        return EncodedFrame("png", data)
    raise InvalidRequest(
        f"{len(data)} bytes are neither a JPEG nor a PNG file; raw pixels go as an array",
        code="image_undecodable",
        field="frame",
    )


def _identity(frame: FrameLike) -> Any:
    """Equal for what is the same memory: the same object, or equal views of one array."""
    if isinstance(frame, np.ndarray):
        return frame.__array_interface__["data"][0], frame.shape, frame.strides, frame.dtype.str
    return id(frame)
