"""Some episodes of a data set, with scores, as a data set of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lrm_server.recordings.copying import copy_episodes
from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import write_folders
from lrm_server.recordings.lerobot.writing import write_lerobot
from lrm_server.recordings.pixels import as_pixels
from tests.recordings.lerobot_levels import level
from tests.recordings.made import assert_same_labels, encoded, episode, noise

WRITTEN_BY_LEROBOT = Path(__file__).parent / "lerobot_v30"


def three() -> list[RecordedEpisode]:
    return [
        episode(
            name,
            frames=[encoded(noise(10 * number + index), "JPEG") for index in range(4)],
            columns={"action": np.arange(8.0).reshape(4, 2) + number},
        )
        for number, name in enumerate("abc")
    ]


@pytest.fixture(params=["folders", "images", "video"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folders":
        write_folders(three(), tmp_path / "source")
    else:
        write_lerobot(three(), tmp_path / "source", storage=request.param)
    return tmp_path / "source"


def test_what_is_copied_is_as_it_was(source: Path, tmp_path: Path) -> None:
    before = open_data_set(source)
    copy_episodes(before, ["c", "a"], tmp_path / "copy")
    after = open_data_set(tmp_path / "copy")
    assert after.layout == before.layout
    assert not after.problems
    for found, wanted in zip(after, (before[0], before[2]), strict=True):
        assert_same_labels(found, wanted)
        for one, other in zip(found.frames, wanted.frames, strict=True):
            assert type(one) is type(other)
            np.testing.assert_array_equal(as_pixels(one), as_pixels(other))
            assert isinstance(one, np.ndarray) or one == other


def test_scores_are_added_and_replaced(source: Path, tmp_path: Path) -> None:
    scores = {"a": {"progress": [0.1, 0.2, None, 0.4]}}
    copy_episodes(open_data_set(source), ["a", "b"], tmp_path / "one", scores)
    a, b = open_data_set(tmp_path / "one")
    np.testing.assert_array_equal(a.columns["score.progress"], [0.1, 0.2, np.nan, 0.4])
    assert np.isnan(b.columns.get("score.progress", np.nan)).all()
    again = {"a": {"progress": [0.5] * 4}}
    copy_episodes(open_data_set(tmp_path / "one"), ["a"], tmp_path / "two", again)
    assert open_data_set(tmp_path / "two")[0].columns["score.progress"].tolist() == [0.5] * 4


def test_a_thinned_data_set_is_copied_whole(source: Path, tmp_path: Path) -> None:
    thinned = open_data_set(source).thinned(2)
    copy_episodes(thinned, ["b"], tmp_path / "copy", {"b": {"progress": [0.0, 0.2, 0.3]}})
    (found,) = open_data_set(tmp_path / "copy")
    assert len(found.frames) == 4
    np.testing.assert_array_equal(found.columns["score.progress"], [0.0, np.nan, 0.2, 0.3])


@pytest.mark.parametrize(
    ("ids", "scores", "named"),
    [
        (["a", "z"], None, "'z'"),
        ([], None, "no episode"),
        (["a"], {"a": {"progress": [0.5]}}, "progress"),
    ],
)
def test_what_cannot_be_copied(
    source: Path, tmp_path: Path, ids: list[str], scores: object, named: str
) -> None:
    with pytest.raises(RecordingError, match=named):
        copy_episodes(open_data_set(source), ids, tmp_path / "copy", scores)  # type: ignore[arg-type]
    assert not (tmp_path / "copy").exists()


def test_all_cameras_and_columns_of_lerobots_are_kept(tmp_path: Path) -> None:
    source = open_data_set(WRITTEN_BY_LEROBOT, camera="front")
    scores = {"episode_000001": {"progress": [0.1, 0.2, 0.3, 0.4]}}
    copy_episodes(source, ["episode_000001", "episode_000002"], tmp_path / "copy", scores)
    for camera in ("front", "wrist"):
        found = open_data_set(tmp_path / "copy", camera=camera)
        assert [one.id for one in found] == ["episode_000001", "episode_000002"]
        assert [one.task for one in found] == ["Push the block.", "Open the drawer."]
        assert [one.success for one in found] == [False, True]
        levels = [as_pixels(frame).mean() for frame in found[0].frames]
        assert levels == pytest.approx([level(camera, 1, index) for index in range(4)], abs=2)
        assert found[0].columns["observation.state"].shape == (4, 3)
        assert found[0].columns["score.progress"].tolist() == [0.1, 0.2, 0.3, 0.4]
    rows = pq.read_table(tmp_path / "copy/data/chunk-000/file-000.parquet").to_pydict()
    assert rows["index"] == list(range(5))
    assert rows["episode_index"] == [0] * 4 + [1]
    stats = json.loads((tmp_path / "copy/meta/stats.json").read_text())
    assert stats["observation.state"]["max"] == [2.0, 3.0, 0.5]
    assert "observation.images.wrist" in stats
