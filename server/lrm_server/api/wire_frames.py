"""From the frames of a request's message to the server's own, wherever their bytes are."""

from __future__ import annotations

from typing import Final

from lrm_client.wire import reward_pb2 as pb
from lrm_server.api.items import FrameOrRefusal
from lrm_server.api.limits import Limits
from lrm_server.api.problems import internal_error
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Encoding, check_bytes, open_frame
from lrm_server.shared_memory import Place, SharedReader, not_offered

_ENCODINGS: Final = {
    pb.ENCODING_JPEG: Encoding.JPEG,
    pb.ENCODING_PNG: Encoding.PNG,
    pb.ENCODING_RAW: Encoding.RAW,
}


def frame_count(batch: pb.FrameBatch) -> int:
    """How many frames a batch says that it has; nothing is read."""
    if batch.WhichOneof("layout") == "tensor":
        return batch.tensor.count
    return len(batch.list.frames)


def open_frames(batch: pb.FrameBatch, limits: Limits) -> list[FrameOrRefusal]:
    """Checks and wraps the frames of a request, in order; one that is refused is its error.

    Hashes all of them, so a large batch belongs into a thread.

    Raises:
        DomainError: the batch refers to more shared memory than a message may bring.
    """
    shared = shared_bytes(batch)
    if shared > limits.message:
        raise invalid(
            "frames",
            f"the request refers to {shared} bytes of shared memory and the limit is "
            f"{limits.message}, as of a message: send fewer frames in one call, or raise "
            "max_message_mib on the server.",
        )
    with SharedReader() as reader:
        if batch.WhichOneof("layout") == "tensor":
            return _tensor_frames(batch.tensor, limits, reader)
        return [frame(message, limits, reader) for message in batch.list.frames]


def shared_bytes(batch: pb.FrameBatch) -> int:
    """How many bytes of shared memory a batch refers to."""
    if batch.WhichOneof("layout") == "tensor":
        tensor = batch.tensor
        return tensor.count * _raw_bytes(tensor) if tensor.HasField("shared") else 0
    return sum(_raw_bytes(each) for each in batch.list.frames if each.HasField("shared"))


def frame(message: pb.Frame, limits: Limits, reader: SharedReader) -> FrameOrRefusal:
    """One frame, or why its bytes were refused."""
    try:
        encoding = _encoding(message.encoding)
        data = _content(message, 1, limits, reader)
        return open_frame(data, encoding, limits.frame, height=message.height, width=message.width)
    except DomainError as error:
        # Whose bytes are wrong is said by the role that refers to the frame.
        return DomainError(error.code, error.message)
    except Exception as error:
        # Whatever an image does to its decoder, the others of the batch are answered.
        return internal_error(error, opening="frame")


def _content(
    message: pb.Frame | pb.RawTensor, count: int, limits: Limits, reader: SharedReader
) -> bytes:
    """The bytes that came with a message, or those of so many frames in shared memory."""
    if not message.HasField("shared"):
        # Each reading of the field copies all of it.
        return message.data
    if not limits.shared_memory:
        raise not_offered()
    check_bytes(_raw_bytes(message), limits.frame)
    shared = message.shared
    place = Place(shared.process, shared.descriptor, shared.token, shared.offset)
    return reader.read(place, count * _raw_bytes(message))


def _raw_bytes(message: pb.Frame | pb.RawTensor) -> int:
    """Bytes of one raw frame."""
    return message.height * message.width * 3


def _tensor_frames(
    tensor: pb.RawTensor, limits: Limits, reader: SharedReader
) -> list[FrameOrRefusal]:
    height, width, count = tensor.height, tensor.width, tensor.count
    size = _raw_bytes(tensor)
    try:
        # Read once, then sliced without copying.
        data = memoryview(_content(tensor, count, limits, reader))
    except DomainError as error:
        return [error] * count
    except Exception as error:
        return [internal_error(error, opening="tensor")] * count
    if len(data) != count * size:
        refusal = invalid(
            "",
            f"a tensor of {count} frames of {height}x{width} has {count * size} bytes (uint8 RGB, "
            f"3 channels) and {len(data)} came: check shape, dtype and channels.",
        )
        return [refusal] * count

    def one(index: int) -> FrameOrRefusal:
        try:
            part = data[index * size : (index + 1) * size]
            return open_frame(part, Encoding.RAW, limits.frame, height=height, width=width)
        except DomainError as error:
            return error
        except Exception as error:
            return internal_error(error, opening="frame of a tensor")

    return [one(index) for index in range(count)]


def _encoding(number: pb.Encoding.ValueType) -> Encoding:
    if number == pb.ENCODING_UNSPECIFIED:
        raise invalid("encoding", "the frame's encoding is not named: say jpeg, png or raw.")
    if number not in _ENCODINGS:
        raise invalid("encoding", f"encoding {number} is of a newer protocol than this server.")
    return _ENCODINGS[number]
