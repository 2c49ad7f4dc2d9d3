"""Frames as other projects' clients send them: raw pixels in base64, ``.npy`` files, JSON lists.

What an array claims to be is checked before its pixels are looked at, and nothing is
unpickled. Frames are views of the bytes that came, not copies, where that is possible.
"""

from __future__ import annotations

import binascii
import io
from base64 import b64decode
from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame

MOST_HEADER_BYTES: Final = 4096
"""Of a .npy file; numpy writes 128 for an array of frames."""
CHANNELS: Final = 3
_BYTES_OF: Final = {"uint8": 1, "float16": 2, "float32": 4, "float64": 8}
"""Types that a frame may have; those of LRM's service: floats are shares of 255."""

# numpy's types lag behind what it documents.
_npy: Final[Any] = npy
# Later versions are of arrays whose fields have names.
_HEADERS: Final = {(1, 0): _npy.read_array_header_1_0, (2, 0): _npy.read_array_header_2_0}


def raw_frame(data: Any, shape: Any, dtype: Any, limits: FrameLimits) -> Frame:
    """A frame from raw RGB pixels in base64.

    Args:
        data: base64 of the pixels, row-major.
        shape: [height, width, 3].
        dtype: ``uint8``, or a float type whose values lie in [0, 1].
        limits: of the frame as uint8; checked before anything is decoded.

    Raises:
        DomainError: INVALID_ARGUMENT or IMAGE_TOO_LARGE; its field is ``data``,
            ``shape``, ``dtype`` or none.
    """
    height, width = _frame_shape(shape)
    if not isinstance(dtype, str) or dtype not in _BYTES_OF:
        raise invalid(
            "dtype",
            f"dtype is {brief(dtype)}: send uint8, or floats in [0, 1] as one of "
            f"{', '.join(list(_BYTES_OF)[1:])}.",
        )
    pixels = height * width * CHANNELS
    if pixels > limits.max_bytes:
        raise _too_large(pixels, limits)
    came = from_base64(data, pixels * _BYTES_OF[dtype], limits)
    if len(came) != pixels * _BYTES_OF[dtype]:
        raise invalid(
            "shape",
            f"shape {[height, width, CHANNELS]} of {dtype} has {pixels * _BYTES_OF[dtype]} bytes "
            f"and {len(came)} came: check shape, dtype and channels.",
        )
    if dtype != "uint8":
        came = _from_shares(np.frombuffer(came, dtype=f"<f{_BYTES_OF[dtype]}"))
    return open_frame(came, Encoding.RAW, limits, height=height, width=width)


def from_base64(data: Any, expected: int, limits: FrameLimits) -> bytes:
    """The bytes that strict base64 stands for; refused by their length before decoding.

    Args:
        data: the text.
        expected: how many bytes are wanted; more than so many are refused unread.
        limits: named in the refusal.

    Raises:
        DomainError: INVALID_ARGUMENT of ``data``, or IMAGE_TOO_LARGE.
    """
    if not isinstance(data, str):
        raise invalid("data", f"data is {brief(data)}: send the pixels' bytes in base64.")
    # Four characters are three bytes.
    coming = 3 * (len(data) // 4) - data[-2:].count("=")
    if coming > max(expected, limits.max_bytes):
        raise _too_large(coming, limits)
    try:
        return b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(
            "data",
            f"data is not base64 ({error}): encode the pixels' bytes, with padding and without "
            "white space. URLs and paths are never opened.",
        ) from None


def npy_frames(file: bytes, limits: FrameLimits, most: int) -> list[Frame]:
    """The frames in a ``.npy`` file of uint8 (T, height, width, 3).

    The header says what the array is; it is checked before the pixels are looked
    at. Arrays of objects are refused: nothing is unpickled.

    Args:
        file: the whole file.
        limits: of each frame.
        most: frames that there may be.

    Raises:
        DomainError: INVALID_ARGUMENT or IMAGE_TOO_LARGE; of no field.
    """
    shape, by_columns, dtype, start = _npy_header(file)
    if dtype.hasobject:
        raise invalid(
            "", "the .npy file holds Python objects (pickle), which are never loaded: send uint8."
        )
    if dtype != np.uint8:
        raise invalid("", f"the .npy file holds {brief(str(dtype))}: send uint8 RGB in [0, 255].")
    count, height, width = video_shape(shape, limits, most)
    held = len(file) - start
    if held != prod(shape):
        raise invalid(
            "",
            f"the .npy file's header says {brief(list(shape))}, which is {prod(shape)} bytes, and "
            f"{held} follow: the file is truncated or its header is wrong.",
        )
    pixels = memoryview(file)[start:]
    if by_columns:
        # Written from an array in Fortran's order; frames are row-major.
        array = np.frombuffer(pixels, dtype=np.uint8).reshape(shape, order="F")
        pixels = memoryview(array.tobytes())
    each = height * width * CHANNELS
    return [
        open_frame(
            pixels[at * each : (at + 1) * each], Encoding.RAW, limits, height=height, width=width
        )
        for at in range(count)
    ]


def listed_frames(frames: Sequence[Any], limits: FrameLimits, most: int) -> list[Frame]:
    """The frames in nested lists of whole numbers in [0, 255], T x height x width x 3.

    One frame is converted at a time.

    Raises:
        DomainError: INVALID_ARGUMENT or IMAGE_TOO_LARGE; its field is the frame's
            place in the list.
    """
    if not 1 <= len(frames) <= most:
        raise invalid("", f"there are {len(frames)} frames: send 1 to {most}.")
    found = [_listed_frame(frame, f"[{at}]", limits) for at, frame in enumerate(frames)]
    sizes = {(frame.height, frame.width) for frame in found}
    if len(sizes) > 1:
        raise invalid("", "the frames have different sizes: send them in one size.")
    return found


def video_shape(shape: Sequence[Any], limits: FrameLimits, most: int) -> tuple[int, int, int]:
    """Frames, height and width of an array of frames that is still unread.

    Raises:
        DomainError: INVALID_ARGUMENT or IMAGE_TOO_LARGE; of no field.
    """
    if len(shape) != 4 or shape[-1] != CHANNELS or not all(_is_size(side) for side in shape):
        raise invalid(
            "",
            f"frames have the shape [frames, height, width, 3] and {brief(list(shape))} came: "
            "check the order of the axes and the channels.",
        )
    count, height, width = shape[0], shape[1], shape[2]
    if count > most:
        raise invalid("", f"there are {brief(count)} frames: send at most {most}.")
    if height * width * CHANNELS > limits.max_bytes:
        raise _too_large(height * width * CHANNELS, limits)
    return count, height, width


def brief(value: Any) -> str:
    """A caller's value as an error may repeat it."""
    if isinstance(value, (list, tuple)) and len(value) > 8:
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**12:
        return "a number of more than 12 digits"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(brief(each) for each in value) + "]"
    if isinstance(value, dict):
        return "an object"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}..."


def _frame_shape(shape: Any) -> tuple[int, int]:
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) != 3
        or shape[2] != CHANNELS
        or not all(_is_size(side) for side in shape)
    ):
        raise invalid(
            "shape", f"the shape of a frame is [height, width, 3] (RGB) and {brief(shape)} came."
        )
    return shape[0], shape[1]


def _is_size(side: Any) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and side >= 1


def _from_shares(values: np.ndarray[Any, Any]) -> bytes:
    """uint8 from floats in [0, 1], as LRM's service makes them: times 255, cut off."""
    # Written so that NaN is refused as well.
    if not (values.min() >= 0.0 and values.max() <= 1.0):
        raise invalid("data", "the floats are not in [0, 1]: send uint8, or divide by 255.")
    return bytes((values.astype(np.float64) * 255).astype(np.uint8))


def _npy_header(file: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, type, and where the pixels begin."""
    stream = io.BytesIO(file)
    try:
        read = _HEADERS[_npy.read_magic(stream)]
        shape, by_columns, dtype = read(stream, max_header_size=MOST_HEADER_BYTES)
    except Exception as error:
        # A header is a Python literal: parsing a broken one raises almost anything.
        raise invalid(
            "", f"the file is no .npy file that can be read ({brief(str(error))}): use numpy.save."
        ) from None
    return shape, by_columns, dtype, stream.tell()


def _listed_frame(frame: Any, place: str, limits: FrameLimits) -> Frame:
    if isinstance(frame, (str, dict)):
        raise invalid(place, "a frame is its pixels: paths and URLs are never opened.")
    try:
        pixels = np.array(frame)
    except (ValueError, TypeError, OverflowError):
        raise invalid(place, "the rows of the frame have different lengths.") from None
    if pixels.dtype.kind not in "iu" or pixels.ndim != 3:
        raise invalid(place, "a frame is a list of rows of [red, green, blue], whole numbers.")
    try:
        height, width = _frame_shape(pixels.shape)
        if pixels.min() < 0 or pixels.max() > 255:
            raise invalid("", "the frame's numbers are not in [0, 255]: send uint8 RGB.")
        data = pixels.astype(np.uint8).tobytes()
        return open_frame(data, Encoding.RAW, limits, height=height, width=width)
    except DomainError as error:
        raise DomainError(error.code, error.message, field=place) from None


def _too_large(size: int, limits: FrameLimits) -> DomainError:
    return DomainError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"the frame has {brief(size)} bytes and the limit is {limits.max_bytes}: send a smaller "
        "one, or raise max_frame_mib on the server.",
    )
