"""Frames from videos and folders."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrm_server.media.reading import Media, MediaError, MediaFrame, Sampling
from tests.cli.conftest import level_frame, write_folder, write_video


def frames_of(source: Path, **sampling: float | None) -> list[MediaFrame]:
    return list(Media(source, Sampling(**sampling)).frames())  # type: ignore[arg-type]


def level(frame: MediaFrame) -> float:
    image = frame.image
    if isinstance(image, bytes):
        image = np.asarray(Image.open(io.BytesIO(image)))
    assert isinstance(image, np.ndarray)
    assert image.dtype == np.uint8
    assert image.shape == (32, 48, 3)
    return float(image.mean())


def test_a_videos_frames_come_in_order_with_their_times(tmp_path: Path) -> None:
    levels = [20, 60, 100, 140, 180, 220]
    frames = frames_of(write_video(tmp_path / "v.mp4", levels, fps=10))
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.seconds for frame in frames] == pytest.approx([0.1 * i for i in range(6)])
    assert [level(frame) for frame in frames] == pytest.approx(levels, abs=6)


def test_every_nth_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [100] * 10)
    assert [frame.index for frame in frames_of(video, every=4)] == [0, 4, 8]
    assert Media(video, Sampling(every=4)).expected_frames == 3


def test_frames_a_second(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [100] * 30, fps=30)
    frames = frames_of(video, fps=10)
    assert [frame.index for frame in frames] == list(range(0, 30, 3))


def test_more_frames_a_second_than_there_are_gives_all(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [100] * 5, fps=10)
    assert len(frames_of(video, fps=100)) == 5


def test_a_folders_numbers_are_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", list(range(0, 240, 20)))
    (folder / "notes.txt").write_text("no frame")
    frames = frames_of(folder)
    assert [frame.name for frame in frames] == [f"frame{i}.png" for i in range(12)]
    assert [level(frame) for frame in frames] == list(range(0, 240, 20))
    assert [frame.index for frame in frames_of(folder, every=5)] == [0, 5, 10]


def test_rgb_files_travel_as_they_are(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", [10], "jpg")
    assert frames_of(folder)[0].image == (folder / "frame0.jpg").read_bytes()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    Image.fromarray(level_frame(120)).convert(mode).save(folder / "a.png")
    assert level(frames_of(folder)[0]) == pytest.approx(120, abs=2)


@pytest.mark.parametrize("content", [b"no image", b""])
def test_a_broken_file_is_a_frame_with_an_error(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path / "f", [10, 20])
    (folder / "frame1.png").write_bytes(content)
    good, bad = frames_of(folder)
    assert good.error == ""
    assert bad.image is None
    assert "frame1.png" in bad.error


def test_a_truncated_file_is_a_frame_with_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    (folder / "a.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (frame,) = frames_of(folder)
    assert frame.image is None
    assert frame.error


@pytest.mark.parametrize(
    "make",
    [
        lambda at: at / "nothing",
        lambda at: at,
        lambda at: Path("http://127.0.0.1:1/video.mp4"),
        lambda at: (at / "text.mp4", (at / "text.mp4").write_text("no video"))[0],
    ],
    ids=["missing", "empty folder", "address", "no video"],
)
def test_a_source_without_frames_is_refused(tmp_path: Path, make: object) -> None:
    with pytest.raises(MediaError):
        frames_of(make(tmp_path))  # type: ignore[operator]


@pytest.fixture
def visitors() -> Iterator[tuple[int, list[object]]]:
    """A port of loopback, and who came to it; nobody is answered."""
    came: list[object] = []

    def receive() -> None:
        with suppress(OSError):
            while True:
                connection, address = listener.accept()
                came.append(address)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=receive)
        thread.start()
        yield listener.getsockname()[1], came
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_playlists_entries_are_never_opened(
    tmp_path: Path, visitors: tuple[int, list[object]]
) -> None:
    port, came = visitors
    playlist = tmp_path / "v.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:{port}/part.ts\n"
        "#EXT-X-ENDLIST\n"
    )
    assert all(frame.image is None for frame in _frames_or_error(playlist))
    assert came == []


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_video(tmp_path / "part.ts", [100] * 5)
    playlist = tmp_path / "v.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{tmp_path}/part.ts\n#EXT-X-ENDLIST\n"
    )
    assert all(frame.image is None for frame in _frames_or_error(playlist))


def _frames_or_error(source: Path) -> list[MediaFrame]:
    try:
        return frames_of(source)
    except MediaError as error:
        return [MediaFrame(0, error=str(error))]


@pytest.mark.parametrize(
    "sampling", [{"every": 0}, {"fps": 0.0}, {"fps": float("nan")}, {"every": 2, "fps": 2.0}]
)
def test_a_sampling_that_makes_no_sense_is_refused(sampling: dict[str, float]) -> None:
    with pytest.raises(MediaError):
        Sampling(**sampling)  # type: ignore[arg-type]


def test_a_folder_has_no_frames_a_second(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="--fps"):
        frames_of(write_folder(tmp_path / "f", [1]), fps=2.0)
