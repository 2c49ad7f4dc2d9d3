"""Video files as the source of a trajectory: what is read, and what is refused."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrm_server.errors import DomainError
from lrm_server.frames import Frame, FrameLimits
from lrm_server.media import video as media_video
from lrm_server.trajectories.types import Moment, TrajectoryLimits, TrajectorySpec
from lrm_server.trajectories.video_source import VideoSource
from tests.trajectories.support import TASK, video

LEVELS = [10, 50, 90, 130, 170, 210]


LIMITS = FrameLimits()


def source_of(data: bytes, *, frame_limits: FrameLimits = LIMITS, **changes: Any) -> Any:
    options = {name: changes.pop(name) for name in ("every", "fps", "views") if name in changes}
    spec = TrajectorySpec(task=TASK, heads=("progress",), **options)
    return VideoSource(data, spec, TrajectoryLimits(**changes), frame_limits)


async def moments_of(data: bytes, **changes: Any) -> tuple[list[Moment], VideoSource]:
    async with source_of(data, **changes) as source:
        return [moment async for moment in source], source


async def refusal_of(data: bytes, **changes: Any) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await moments_of(data, **changes)
    return refused.value


def level_of(moment: Moment) -> float:
    (frame,) = moment.frames
    assert isinstance(frame, Frame)
    return float(frame.pixels().mean())


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("mov", "mpeg4"), ("matroska", "libx264"), ("webm", "libvpx")],
)
async def test_frames_come_in_order_with_their_times(container: str, codec: str) -> None:
    moments, source = await moments_of(video(LEVELS, container=container, codec=codec))
    assert [moment.index for moment in moments] == list(range(6))
    assert [moment.time for moment in moments] == pytest.approx([0.1 * i for i in range(6)])
    assert [level_of(moment) for moment in moments] == pytest.approx(LEVELS, abs=8)
    assert source.count == 6
    assert source.fps == pytest.approx(10, rel=0.02)


async def test_times_of_a_variable_rate_are_the_files_own() -> None:
    times = [0.0, 0.1, 0.2, 1.2, 2.2, 2.5]
    moments, source = await moments_of(video(LEVELS, container="matroska", times=times))
    assert [moment.time for moment in moments] == pytest.approx(times, abs=0.002)
    assert source.fps == pytest.approx(5 / 2.5, rel=0.01)


async def test_a_rate_that_is_named_counts_instead_of_the_files() -> None:
    moments, source = await moments_of(video(LEVELS), fps=2.0)
    assert [moment.time for moment in moments] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert source.fps == 2.0


async def test_only_frames_that_are_scored_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int] = []
    pixels = media_video.DecodedFrame.pixels

    def noted(frame: media_video.DecodedFrame) -> np.ndarray:
        converted.append(frame.index)
        return pixels(frame)

    monkeypatch.setattr(media_video.DecodedFrame, "pixels", noted)
    moments, source = await moments_of(video([100] * 50), every=20)
    assert [moment.index for moment in moments] == [0, 20, 40, 49]
    assert converted == [0, 20, 40, 49]
    assert source.count == 50


async def test_more_frames_than_the_limit_are_refused_before_one_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(self: media_video.Video) -> Any:
        raise AssertionError("decoded")

    monkeypatch.setattr(media_video.Video, "frames", never)
    error = await refusal_of(video([100] * 30), max_frames=29)
    assert error.field == "video"
    assert "29 frames" in error.message


async def test_a_header_that_names_fewer_frames_than_there_are_deceives_nobody() -> None:
    data = video([100] * 30, container="avi", codec="mpeg4")
    place = data.index(b"avih") + 8 + 16
    assert int.from_bytes(data[place : place + 4], "little") == 30
    lying = data[:place] + (2).to_bytes(4, "little") + data[place + 4 :]
    assert "10 frames" in (await refusal_of(lying, max_frames=10)).message


async def test_frames_that_are_too_large_are_refused() -> None:
    data = video([100] * 3, height=64, width=64)
    error = await refusal_of(data, frame_limits=FrameLimits(max_pixels=64 * 64 - 1))
    assert error.field == "video"
    assert "64x64" in error.message
    moments, _ = await moments_of(data, frame_limits=FrameLimits(max_pixels=64 * 64))
    assert len(moments) == 3


async def test_frames_that_are_far_too_large_are_refused_by_the_decoder_itself() -> None:
    data = video([100] * 3, container="webm", codec="libvpx", height=256, width=256)
    error = await refusal_of(data, frame_limits=FrameLimits(max_pixels=16 * 16))
    assert error.field == "video"


async def test_decoding_that_works_too_long_is_ended() -> None:
    error = await refusal_of(video([100] * 30), max_decode_seconds=0.0)
    assert error.field == "video"
    assert "seconds" in error.message


async def test_a_pixel_limit_is_of_pixels_and_not_of_the_bytes_that_travel() -> None:
    moments, _ = await moments_of(video(LEVELS), frame_limits=FrameLimits(max_bytes=10))
    assert all(isinstance(moment.frames[0], Frame) for moment in moments)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no video at all" * 100,
        b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:1/part.ts\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"GIF89a" + bytes(100),
    ],
)
async def test_what_is_no_video_names_the_field(data: bytes) -> None:
    error = await refusal_of(data)
    assert (error.code.value, error.field) == ("invalid_argument", "video")
    assert "MP4" in error.message


async def test_other_formats_are_not_opened() -> None:
    assert (await refusal_of(video(LEVELS, container="mpegts"))).field == "video"


async def test_a_video_names_no_other_file_and_no_address() -> None:
    """A reference to data elsewhere is written into the file, and nobody comes for it."""
    came: list[object] = []

    def receive() -> None:
        try:
            connection, address = listener.accept()
        except OSError:
            return
        came.append(address)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=receive)
        thread.start()
        port = listener.getsockname()[1]
        address = f"http://127.0.0.1:{port}/v.mp4\x00".encode()
        data = video(LEVELS, container="mov", codec="mpeg4")
        # An entry of the table of data references that does not say "in this file".
        place = data.index(b"dref") + 12
        entry = data[place : place + 12]
        assert entry[4:8] == b"url "
        size = (12 + len(address)).to_bytes(4, "big")
        elsewhere = size + b"url " + bytes(4) + address
        await asyncio.gather(
            moments_of(data[:place] + elsewhere + data[place + 12 :]), return_exceptions=True
        )
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert came == []


async def test_a_video_that_breaks_off_is_scored_up_to_there() -> None:
    noise = np.random.default_rng(0)
    data = video([int(level) for level in noise.integers(0, 255, 60)], container="matroska")
    moments, _ = await moments_of(data[: len(data) * 2 // 3])
    good = [moment for moment in moments if isinstance(moment.frames[0], Frame)]
    assert 0 < len(good) < 60
    assert [moment.index for moment in good] == list(range(len(good)))


async def test_a_video_is_of_one_camera() -> None:
    assert (await refusal_of(video(LEVELS), views=("front", "wrist"))).field == "views"


async def test_leaving_ends_the_decoder() -> None:
    async with source_of(video([100] * 50)) as source:
        async for _ in source:
            break
    opened = source._video
    assert opened is not None
    with pytest.raises((media_video.MediaError, AssertionError)):
        next(opened.frames())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cut=st.integers(0, 4000),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
)
def test_a_damaged_video_is_frames_or_a_refusal(cut: int, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[: max(0, len(WHOLE) - cut)])
    for place, value in changes:
        if data:
            data[place % len(data)] = value
    try:
        moments, _ = asyncio.run(moments_of(bytes(data)))
    except DomainError as error:
        named = error.field
    else:
        assert all(isinstance(each.frames[0], Frame | DomainError) for each in moments)
        named = "video"
    assert named == "video"


WHOLE = video(LEVELS)
