"""What is accepted as a frame, and what travels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrm_client import EncodedFrame, FrameEncoder, InvalidRequest
from lrm_client.frames import FrameTable
from lrm_client.wire import reward_pb2 as pb

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


class TensorOnDevice:
    """Behaves as a torch tensor that cannot be viewed where it is."""

    def __init__(self, pixels: np.ndarray, on_cpu: bool = False) -> None:
        self._pixels = pixels
        self._on_cpu = on_cpu

    def detach(self) -> TensorOnDevice:
        return self

    def cpu(self) -> TensorOnDevice:
        return TensorOnDevice(self._pixels, on_cpu=True)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        assert self._on_cpu, "the tensor is on its device"
        return self._pixels


def filled(table: FrameTable) -> pb.FrameBatch:
    batch = pb.FrameBatch()
    table.fill(batch)
    return batch


def decoded(frame: EncodedFrame) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(frame.data)))


@pytest.mark.parametrize(
    "frame",
    [
        PIXELS,
        np.asfortranarray(PIXELS),
        np.repeat(PIXELS, 2, axis=1)[:, ::2],
        PIXELS[::-1][::-1],
        Image.fromarray(PIXELS),
        TensorOnDevice(PIXELS),
    ],
    ids=["array", "fortran order", "strided", "reversed", "pillow", "tensor"],
)
def test_pixels_travel_raw_in_row_major_order(frame: Any) -> None:
    encoded = FrameEncoder("raw").encode(frame)
    assert encoded == EncodedFrame("raw", PIXELS.tobytes(), 6, 8)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_an_image_of_any_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    encoded = FrameEncoder("png").encode(image)
    assert (decoded(encoded) == np.asarray(image.convert("RGB"))).all()


def test_png_loses_nothing_and_jpeg_little() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64))[..., None].repeat(3, -1).astype(np.uint8)
    png, jpeg = FrameEncoder("png").encode(smooth), FrameEncoder("jpeg").encode(smooth)
    assert (decoded(png) == smooth).all()
    assert np.abs(decoded(jpeg).astype(int) - smooth).max() <= 3
    assert (png[2:], jpeg[2:]) == ((0, 0), (0, 0))
    assert len(FrameEncoder("jpeg", quality=20).encode(smooth).data) < len(jpeg.data)


def test_small_frames_go_raw_and_large_ones_as_jpeg_unless_told_otherwise() -> None:
    encoder = FrameEncoder()
    assert encoder.encode(np.zeros((256, 256, 3), np.uint8)).encoding == "raw"
    assert encoder.encode(np.zeros((257, 256, 3), np.uint8)).encoding == "jpeg"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_encoded_bytes_travel_as_they_are(encoding: Any, kind: Any) -> None:
    data = FrameEncoder(encoding).encode(PIXELS).data
    assert FrameEncoder("raw").encode(kind(data)) == EncodedFrame(encoding, data)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (PIXELS / 255.0, "multiply values in"),
        (PIXELS.astype(np.float16), "cast to uint8"),
        (PIXELS.astype(np.int64), "must be uint8, not int64"),
        (PIXELS.astype(bool), "must be uint8, not bool"),
        (PIXELS[..., :2], "RGB of shape"),
        (PIXELS[..., 0], "RGB of shape"),
        (np.zeros((4, 4, 4), np.uint8), "RGB of shape"),
        (PIXELS.transpose(2, 0, 1), "move the channels to the end"),
        (PIXELS[None], "RGB of shape"),
        (PIXELS[:0], "empty"),
        (PIXELS[:, :0], "empty"),
        (b"", "neither a JPEG nor a PNG"),
        (b"GIF89a", "neither a JPEG nor a PNG"),
        ("frame.png", "not str"),
        (None, "not NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_frame_is_refused_with_a_hint(frame: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        FrameEncoder().encode(frame)
    assert refused.value.field == "frame"


@pytest.mark.parametrize("wrong", [{"encoding": "webp"}, {"quality": 0}, {"quality": 101}], ids=str)
def test_an_encoder_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        FrameEncoder(**wrong)


def test_a_batch_is_an_array_a_tensor_or_a_sequence() -> None:
    batch = np.stack([PIXELS, PIXELS + 1])
    encoder = FrameEncoder("raw")
    expected = [encoder.encode(PIXELS), encoder.encode(PIXELS + 1)]
    for frames in (batch, TensorOnDevice(batch), list(batch), (PIXELS, batch[1])):
        assert encoder.encode_many(frames) == expected


@pytest.mark.parametrize("batch", [PIXELS, np.zeros((0, 6, 8, 1), np.uint8), PIXELS[None] / 255.0])
def test_a_batch_of_another_shape_or_type_is_refused(batch: np.ndarray) -> None:
    with pytest.raises(InvalidRequest):
        FrameEncoder().encode_many(batch)


def test_raw_frames_of_one_size_are_one_tensor() -> None:
    table = FrameTable(FrameEncoder("raw"))
    assert [table.add(PIXELS), table.add(PIXELS + 1)] == [0, 1]
    tensor = filled(table).tensor
    assert (tensor.count, tensor.height, tensor.width) == (2, 6, 8)
    assert tensor.data == PIXELS.tobytes() + (PIXELS + 1).tobytes()


def test_frames_of_different_kinds_are_a_list() -> None:
    table = FrameTable(FrameEncoder("raw"))
    table.add(PIXELS)
    table.add(PIXELS[:4])
    table.add(FrameEncoder("png").encode(PIXELS))
    frames = filled(table).list.frames
    assert [(frame.encoding, frame.height, frame.width) for frame in frames] == [
        (pb.ENCODING_RAW, 6, 8),
        (pb.ENCODING_RAW, 4, 8),
        (pb.ENCODING_PNG, 0, 0),
    ]


def test_the_same_memory_travels_once_and_equal_content_does_not() -> None:
    table = FrameTable(FrameEncoder("raw"))
    batch = np.stack([PIXELS, PIXELS])
    image = Image.fromarray(PIXELS)
    added = [
        table.add(frame) for frame in (batch[0], batch[1], batch[0], image, image, batch[0][:4])
    ]
    assert added == [0, 1, 0, 2, 2, 3]


def test_frames_that_are_gone_do_not_lend_their_place_to_new_ones() -> None:
    table = FrameTable(FrameEncoder("raw"))
    added = [table.add(Image.fromarray(np.full((2, 2, 3), at, np.uint8))) for at in range(50)]
    assert added == list(range(50))


def test_no_frames_are_an_empty_batch() -> None:
    assert not filled(FrameTable(FrameEncoder())).list.frames
