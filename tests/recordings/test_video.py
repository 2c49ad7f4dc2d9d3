"""Frames of a video by their times."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lrm_server.recordings import video
from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.video import VideoReader, VideoWriter
from tests.recordings.made import grey

FPS = 10
COUNT = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Six seconds in which the grey rises by four a frame."""
    writer = VideoWriter(tmp_path / "v.mp4", Fraction(FPS), 32, 48, 18)
    for index in range(COUNT):
        writer.add(grey(4 * index))
    writer.close()
    return tmp_path / "v.mp4"


def index_at(reader: VideoReader, path: Path, seconds: float) -> int:
    return round(reader.frame_at(path, seconds, 0.5 / FPS).mean() / 4)


@pytest.mark.parametrize("order", [1, -1, 7, 37])
def test_any_order_finds_each_frame(path: Path, order: int) -> None:
    reader = VideoReader()
    indices = [(index * order) % COUNT for index in range(COUNT)]
    assert [index_at(reader, path, index / FPS) for index in indices] == indices


def test_times_may_be_off_by_half_a_frame(path: Path) -> None:
    reader = VideoReader()
    assert index_at(reader, path, 2.04) == 20
    assert index_at(reader, path, 1.96) == 20


@pytest.mark.parametrize("seconds", [6.2, 100.0])
def test_a_time_without_a_frame_is_an_error(path: Path, seconds: float) -> None:
    reader = VideoReader()
    with pytest.raises(RecordingError, match=f"{seconds:.3f} s"):
        reader.frame_at(path, seconds, 0.05)
    assert index_at(reader, path, 3.0) == 30


def test_the_tolerance_counts(path: Path) -> None:
    with pytest.raises(RecordingError, match="no frame at"):
        VideoReader().frame_at(path, 2.05, 0.01)


def test_held_frames_are_not_decoded_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = VideoReader(held=2)
    first = reader.frame_at(path, 0.0, 0.05)
    reader.frame_at(path, 5.0, 0.05)
    assert reader.frame_at(path, 0.0, 0.05) is first
    reader.frame_at(path, 4.0, 0.05)
    # The one that was asked for longest ago has gone.
    assert reader.frame_at(path, 0.0, 0.05) is first
    assert len(reader._frames) == 2
    assert not first.flags.writeable


def test_going_on_does_not_seek(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeks = []
    seek = video._OpenVideo._seek
    monkeypatch.setattr(
        video._OpenVideo, "_seek", lambda self, at: (seeks.append(at), seek(self, at))[1]
    )
    reader = VideoReader()
    for index in range(COUNT):
        index_at(reader, path, index / FPS)
    assert seeks == [0.0]


def test_threads_share_a_reader(path: Path) -> None:
    reader = VideoReader(held=1)
    found: dict[int, list[int]] = {}

    def read(start: int) -> None:
        found[start] = [index_at(reader, path, index / FPS) for index in range(start, COUNT, 4)]

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {start: list(range(start, COUNT, 4)) for start in range(4)}


def test_what_is_no_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(RecordingError):
        VideoReader().frame_at(tmp_path / "v.mp4", 0.0, 0.05)
    with pytest.raises(RecordingError):
        VideoReader().frame_at(tmp_path / "gone.mp4", 0.0, 0.05)


def test_frames_of_a_rate_that_is_no_whole_number(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    writer = VideoWriter(tmp_path / "v.mp4", rate, 32, 48, 18)
    for index in range(20):
        writer.add(grey(10 * index))
    writer.close()
    reader = VideoReader()
    for index in range(20):
        frame = reader.frame_at(tmp_path / "v.mp4", float(index / rate), 0.1 / 30)
        np.testing.assert_allclose(frame.mean(), 10 * index, atol=3)
