"""LeRobot's layout, v3.0: what is written, and that it is read as it was."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.lerobot.writing import Storage, write_lerobot
from lrm_server.recordings.pixels import as_pixels
from tests.recordings.labels import labelled_episodes
from tests.recordings.made import (
    assert_same_labels,
    encoded,
    episode,
    grey,
    noise,
    unlabelled,
)

DATA = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.camera/chunk-000/file-000.mp4"


def rows(root: Path) -> dict[str, list[Any]]:
    return pq.read_table(root / DATA).to_pydict()


@settings(max_examples=25, deadline=None)
@given(episodes=labelled_episodes())
def test_labels_come_back_as_they_were(episodes: list[RecordedEpisode]) -> None:
    with tempfile.TemporaryDirectory() as at:
        write_lerobot(episodes, Path(at) / "set")
        found = open_data_set(Path(at) / "set")
        assert not found.problems
        for one, wanted in zip(found, episodes, strict=True):
            assert_same_labels(one, wanted)


def test_images_keep_their_bytes_and_pixels_lose_nothing(tmp_path: Path) -> None:
    jpeg, png, pixels = encoded(noise(1), "JPEG"), encoded(noise(2)), noise(3)
    episodes = [episode("a", frames=[jpeg, png]), episode("b", frames=[pixels])]
    write_lerobot(episodes, tmp_path / "set")
    found = open_data_set(tmp_path / "set")
    assert found.layout == "lerobot v3.0"
    assert list(found[0].frames) == [jpeg, png]
    np.testing.assert_array_equal(as_pixels(found[1].frames[0]), pixels)


def ramp(episode: int, index: int) -> np.ndarray:
    """A picture of its own for each frame, as smooth as a camera's."""
    x, y = np.meshgrid(np.linspace(0, 90, 48), np.linspace(0, 60, 32))
    red, green = x + 12 * index, y + 60 * episode
    return np.stack([red, green, np.full_like(red, 200 - 20 * index)], -1).astype(np.uint8)


def test_video_frames_are_close_and_each_is_its_own(tmp_path: Path) -> None:
    pictures = [
        [ramp(number, index) for index in range(count)] for number, count in enumerate((7, 1, 4))
    ]
    episodes = [
        episode(f"e{number}", frames=list(frames)) for number, frames in enumerate(pictures)
    ]
    write_lerobot(episodes, tmp_path / "set", storage="video", fps=30)
    found = open_data_set(tmp_path / "set")
    assert (tmp_path / "set" / VIDEO).is_file()
    # Backwards: each frame is sought anew.
    for wanted, one in reversed(list(zip(pictures, found, strict=True))):
        for index in reversed(range(len(wanted))):
            frame = one.frames[index]
            assert isinstance(frame, np.ndarray)
            assert np.abs(frame.astype(int) - wanted[index]).mean() < 2.5


def test_less_crf_is_more_exact(tmp_path: Path) -> None:
    def error(crf: int) -> float:
        write_lerobot([episode(frames=[noise(1)])], tmp_path / str(crf), storage="video", crf=crf)
        frame = as_pixels(open_data_set(tmp_path / str(crf))[0].frames[0])
        return float(np.abs(frame.astype(int) - noise(1)).mean())

    assert error(5) < error(40)


def test_outcomes_follow_actions_as_lerobot_has_them(tmp_path: Path) -> None:
    rewards = np.array([9.0, 0.0, 0.5, 1.0])
    write_lerobot([episode(rewards=rewards)], tmp_path / "set")
    found = rows(tmp_path / "set")
    assert found["next.success"] == [False, False, True, True]
    assert found["next.done"] == [False, False, True, True]
    assert found["next.reward"] == [0.0, 0.5, 1.0, 0.0]
    assert found["lrm.success"] == [0, 0, 0, 1]
    assert found["lrm.reward"] == rewards.tolist()


def test_an_unknown_success_is_not_written_as_a_failure(tmp_path: Path) -> None:
    write_lerobot([episode("a"), unlabelled("b")], tmp_path / "set")
    assert "next.success" not in rows(tmp_path / "set")
    assert "next.reward" not in rows(tmp_path / "set")
    a, b = open_data_set(tmp_path / "set")
    assert a.success is True
    assert (b.success, b.done, b.progress, b.rewards) == (None,) * 4


def test_no_labels_at_all(tmp_path: Path) -> None:
    write_lerobot([unlabelled()], tmp_path / "set")
    (found,) = open_data_set(tmp_path / "set")
    assert_same_labels(found, unlabelled())


def test_scores_are_columns_with_gaps(tmp_path: Path) -> None:
    scores = {"a": {"progress": [0.25, None, 0.5]}}
    write_lerobot([episode("a", 3), episode("b", 2)], tmp_path / "set", scores=scores)
    a, b = open_data_set(tmp_path / "set")
    np.testing.assert_array_equal(a.columns["score.progress"], [0.25, np.nan, 0.5])
    assert np.isnan(b.columns["score.progress"]).all()


@pytest.mark.parametrize(
    ("steps", "own", "asked", "wanted"),
    [
        ([0, 5, 10], 20.0, None, 4),
        ([0, 1, 2], 12.5, None, 12.5),
        ([0, 5, 10], 20.0, 30.0, 30),
        ([0, 5, 10], None, None, 10),
        ([3], 20.0, None, 20),
    ],
)
def test_rows_a_second(
    tmp_path: Path, steps: list[int], own: float | None, asked: float | None, wanted: float
) -> None:
    one = episode(count=len(steps), steps=np.array(steps), length=10, fps=own)
    write_lerobot([one], tmp_path / "set", fps=asked)
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["fps"] == wanted
    assert rows(tmp_path / "set")["timestamp"] == pytest.approx(np.arange(len(steps)) / wanted)
    assert open_data_set(tmp_path / "set")[0].fps == own


@pytest.mark.parametrize("storage", ["images", "video"])
def test_large_data_sets_are_many_files(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrm_server.recordings.lerobot.writing.MEGABYTE", 0)
    monkeypatch.setattr("lrm_server.recordings.lerobot.files.CHUNK_SIZE", 2)
    episodes = [episode(f"e{i}", frames=[grey(40 * i), grey(40 * i + 20)]) for i in range(5)]
    write_lerobot(episodes, tmp_path / "set", storage=storage)
    assert (tmp_path / "set/data/chunk-002/file-000.parquet").is_file()
    found = open_data_set(tmp_path / "set")
    levels = [[as_pixels(frame).mean() for frame in one.frames] for one in found]
    np.testing.assert_allclose(levels, [[40 * i, 40 * i + 20] for i in range(5)], atol=3)


def test_statistics_are_of_all_rows(tmp_path: Path) -> None:
    frames = [[grey(0), grey(255)], [grey(51)]]
    episodes = [
        episode(f"e{i}", frames=list(each), columns={"action": np.full((len(each), 2), float(i))})
        for i, each in enumerate(frames)
    ]
    write_lerobot(episodes, tmp_path / "set")
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    assert stats["action"]["mean"] == pytest.approx([1 / 3, 1 / 3])
    assert stats["action"]["max"] == [1.0, 1.0]
    assert stats["action"]["count"] == [3]
    np.testing.assert_allclose(stats["observation.images.camera"]["mean"], np.full((3, 1, 1), 0.4))


@pytest.mark.parametrize(
    ("episodes", "named"),
    [
        ([], "no episode"),
        ([episode("a"), episode("a")], "'a'"),
        ([episode("a"), episode("b", frames=[noise(0, 16, 16)])], "'b', frame 0"),
        ([episode("a", columns={"lrm.step": np.zeros(4)})], "lrm.step"),
        ([episode("a", columns={"x/y": np.zeros(4)})], "x/y"),
        ([episode("a", columns={"x": np.zeros((4, 2, 2))})], "'x'"),
        (
            [
                episode("a", columns={"x": np.zeros(4)}),
                episode("b", columns={"x": np.zeros((4, 2))}),
            ],
            "'x'",
        ),
        ([episode("a", columns={"x": np.zeros(4, int)}), episode("b")], "'b' has no column 'x'"),
    ],
)
def test_episodes_that_make_no_data_set(
    tmp_path: Path, episodes: list[RecordedEpisode], named: str
) -> None:
    with pytest.raises(RecordingError, match=named):
        write_lerobot(episodes, tmp_path / "set")
    with pytest.raises(RecordingError):
        open_data_set(tmp_path / "set")


def test_odd_sizes_are_no_video(tmp_path: Path) -> None:
    odd = episode(frames=[noise(0, 31, 48)])
    with pytest.raises(RecordingError, match="even"):
        write_lerobot([odd], tmp_path / "video", storage="video")
    write_lerobot([odd], tmp_path / "images")
