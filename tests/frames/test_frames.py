"""Frames: checked from their header, decoded once, whatever the bytes are."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, FrameLimits, open_frame

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (24, 32, 3), dtype=np.uint8)


def encoded(kind: str, mode: str = "RGB", pixels: np.ndarray = PIXELS) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def code_of(data: bytes, encoding: Encoding, **options: int) -> ErrorCode:
    with pytest.raises(DomainError) as error:
        open_frame(data, encoding, FrameLimits(), **options).pixels()
    assert "Send" in error.value.message or "send" in error.value.message
    return error.value.code


def outcome(data: bytes, encoding: Encoding) -> ErrorCode | None:
    """The code of the error that the bytes lead to; None when they are an image."""
    try:
        open_frame(data, encoding, FrameLimits()).pixels()
    except DomainError as error:
        return error.code
    return None


def test_each_encoding_gives_its_pixels() -> None:
    raw = open_frame(PIXELS.tobytes(), Encoding.RAW, FrameLimits(), height=24, width=32)
    png = open_frame(encoded("PNG"), Encoding.PNG, FrameLimits())
    jpeg = open_frame(encoded("JPEG"), Encoding.JPEG, FrameLimits())
    assert np.array_equal(raw.pixels(), PIXELS)
    assert np.array_equal(png.pixels(), PIXELS)
    assert jpeg.pixels().shape == PIXELS.shape
    assert (png.height, png.width) == (24, 32)


def test_the_digest_tells_content_and_shape_apart() -> None:
    data = PIXELS.tobytes()
    one = open_frame(data, Encoding.RAW, FrameLimits(), height=24, width=32)
    same = open_frame(bytes(data), Encoding.RAW, FrameLimits(), height=24, width=32)
    turned = open_frame(data, Encoding.RAW, FrameLimits(), height=32, width=24)
    assert one.digest == same.digest != turned.digest


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "L"), ("JPEG", "L")])
def test_other_channels_are_refused(kind: str, mode: str) -> None:
    assert code_of(encoded(kind, mode), Encoding(kind.lower())) is ErrorCode.INVALID_ARGUMENT


def test_limits_are_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        pytest.fail("the pixels were decoded")

    monkeypatch.setattr("lrm_server.frames.Frame._decode", never)
    wide = np.zeros((3000, 3000, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG"):
        with pytest.raises(DomainError) as error:
            open_frame(encoded(kind, pixels=wide), Encoding(kind.lower()), FrameLimits())
        assert error.value.code is ErrorCode.IMAGE_TOO_LARGE
    with pytest.raises(DomainError, match="bytes and the limit"):
        open_frame(b"\0" * 100, Encoding.PNG, FrameLimits(max_bytes=99))


@given(st.integers(0, 10_000), st.binary(max_size=40), st.sampled_from(["PNG", "JPEG"]))
def test_broken_bytes_are_undecodable_or_refused_and_nothing_else(
    at: int, noise: bytes, kind: str
) -> None:
    whole = encoded(kind)
    at %= len(whole)
    data = whole[:at] + noise + whole[at + len(noise) :]
    assert outcome(data, Encoding(kind.lower())) in (
        None,
        ErrorCode.IMAGE_UNDECODABLE,
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.IMAGE_TOO_LARGE,
    )


def test_a_broken_chunk_after_the_pixels_is_undecodable() -> None:
    whole = encoded("PNG")
    end = whole.rindex(b"IEND") - 4
    body = b"iCCP"
    chunk = b"\0\0\0\0" + body + zlib.crc32(body).to_bytes(4, "big")
    data = whole[:end] + chunk + whole[end:]
    assert outcome(data, Encoding.PNG) is ErrorCode.IMAGE_UNDECODABLE


def test_released_pixels_are_decoded_again() -> None:
    frame = open_frame(encoded("JPEG"), Encoding.JPEG, FrameLimits())
    first = frame.pixels()
    assert frame.pixels() is first
    frame.release()
    again = frame.pixels()
    assert again is not first
    assert np.array_equal(again, first)
