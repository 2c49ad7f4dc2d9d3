"""Opening, and taking fewer frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import write_folders
from lrm_server.recordings.pixels import as_pixels
from tests.recordings.made import episode, grey


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"episode\.json"):
        open_data_set(tmp_path)
    with pytest.raises(RecordingError, match="no folder"):
        open_data_set(tmp_path / "nothing")


def test_an_episode_is_not_a_data_set(tmp_path: Path) -> None:
    write_folders([episode()], tmp_path / "set")
    with pytest.raises(RecordingError, match="the folder that it lies in"):
        open_data_set(tmp_path / "set/one")


def test_folders_have_no_cameras(tmp_path: Path) -> None:
    write_folders([episode()], tmp_path / "set")
    with pytest.raises(RecordingError, match="front"):
        open_data_set(tmp_path / "set", camera="front")


def test_where_nothing_can_be_read_the_causes_are_said(tmp_path: Path) -> None:
    write_folders([episode("a")], tmp_path / "set")
    (tmp_path / "set/a/episode.json").write_text("{}")
    with pytest.raises(RecordingError, match="task"):
        open_data_set(tmp_path / "set")


def test_it_is_a_sequence(tmp_path: Path) -> None:
    write_folders([episode(name) for name in "abc"], tmp_path / "set")
    found = open_data_set(tmp_path / "set")
    assert len(found) == 3
    assert found[-1].id == "c"
    assert [one.id for one in found[1:]] == ["b", "c"]
    assert [one.id for one in found] == ["a", "b", "c"]


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """Eleven frames, 20 steps a second, one frame every fifth step."""
    frames = [grey(20 * index) for index in range(11)]
    columns = {"action": np.arange(22).reshape(11, 2)}
    write_folders([episode(frames=list(frames), columns=columns)], tmp_path / "set")
    return tmp_path / "set"


def places(one: RecordedEpisode) -> list[int]:
    """Which of the eleven frames there are, by their pixels."""
    return [round(as_pixels(frame).mean() / 20) for frame in one.frames]


@pytest.mark.parametrize(
    ("every", "kept"),
    [(1, list(range(11))), (4, [0, 4, 8, 10]), (5, [0, 5, 10]), (100, [0, 10])],
)
def test_thinning_keeps_every_nth_and_the_last(long: Path, every: int, kept: list[int]) -> None:
    (one,) = open_data_set(long).thinned(every)
    assert places(one) == kept
    assert one.steps.tolist() == [5 * index for index in kept]
    assert one.length == 50
    assert one.progress is not None
    np.testing.assert_allclose(one.progress, np.array(kept) / 10)
    assert one.done is not None
    assert one.done.tolist() == [index == 10 for index in kept]
    assert one.columns["action"].tolist() == [[2 * index, 2 * index + 1] for index in kept]


@pytest.mark.parametrize(
    ("fps", "kept"), [(4.0, list(range(11))), (100.0, list(range(11))), (2.0, [0, 2, 4, 6, 8, 10])]
)
def test_thinning_to_a_rate(long: Path, fps: float, kept: list[int]) -> None:
    assert places(open_data_set(long).thinned(fps=fps)[0]) == kept


def test_thinning_twice(long: Path) -> None:
    assert places(open_data_set(long).thinned(2).thinned(2)[0]) == [0, 4, 8, 10]


def test_a_rate_needs_episodes_that_know_theirs(tmp_path: Path) -> None:
    write_folders([episode(fps=None)], tmp_path / "set")
    with pytest.raises(RecordingError, match="thin with every"):
        open_data_set(tmp_path / "set").thinned(fps=2)


@pytest.mark.parametrize(("every", "fps"), [(None, None), (2, 2.0), (0, None), (None, 0.0)])
def test_thinning_takes_one_positive_number(
    long: Path, every: int | None, fps: float | None
) -> None:
    with pytest.raises(RecordingError):
        open_data_set(long).thinned(every, fps=fps)


def test_an_episode_of_one_frame_stays(tmp_path: Path) -> None:
    write_folders([episode(count=1)], tmp_path / "set")
    (one,) = open_data_set(tmp_path / "set").thinned(3)
    assert len(one.frames) == 1


def test_frames_are_a_sequence(long: Path) -> None:
    (one,) = open_data_set(long)
    assert len(one.frames) == 11
    assert one.frames[-1] == one.frames[10]
    assert list(one.frames[::5]) == [one.frames[0], one.frames[5], one.frames[10]]
    with pytest.raises(IndexError):
        one.frames[11]
