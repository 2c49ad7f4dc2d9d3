"""Plain folders: what is written is read, and what is wrong is said."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.folders import write_folders
from lrm_server.recordings.pixels import as_pixels
from tests.recordings.labels import labelled_episodes
from tests.recordings.made import assert_same_labels, encoded, episode, grey, noise, unlabelled

REPOSITORY = Path(__file__).resolve().parents[2]


def write_json(folder: Path, content: object, files: tuple[str, ...] = ("0.png",)) -> Path:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(encoded(grey(50)))
    (folder / "episode.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set with one good episode."""
    write_folders([episode("good")], tmp_path / "set")
    return tmp_path / "set"


@settings(max_examples=40, deadline=None)
@given(episodes=labelled_episodes())
def test_labels_come_back_as_they_were(episodes: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as at:
        write_folders(episodes, Path(at) / "set")
        found = open_data_set(Path(at) / "set")
        assert not found.problems
        by_id = {each.id: each for each in found}
        assert len(by_id) == len(episodes)
        for wanted in episodes:
            assert_same_labels(by_id[wanted.id], wanted)


def test_files_keep_their_bytes_and_pixels_lose_nothing(tmp_path: Path) -> None:
    jpeg, png, pixels = encoded(noise(1), "JPEG"), encoded(noise(2)), noise(3)
    write_folders([episode(frames=[jpeg, png, pixels])], tmp_path / "set")
    (found,) = open_data_set(tmp_path / "set")
    assert found.frames[0] == jpeg
    assert found.frames[1] == png
    assert (tmp_path / "set/one/0000.jpg").read_bytes() == jpeg
    np.testing.assert_array_equal(as_pixels(found.frames[2]), pixels)


def test_the_rollouts_of_the_repository_are_read_as_they_are() -> None:
    bundled = open_data_set(REPOSITORY / "server/lrm_server/demo/rollouts")
    assert bundled.layout == "folders"
    assert bundled.name == "rollouts"
    assert not bundled.problems
    peg = next(each for each in bundled if each.id == "liftpegupright_100017")
    content = json.loads(
        (REPOSITORY / "server/lrm_server/demo/rollouts" / peg.id / "episode.json").read_text()
    )
    assert (peg.group, peg.task) == (content["env_id"], content["task"])
    assert (peg.seed, peg.kind, peg.success) == (
        content["seed"],
        content["kind"],
        content["success"],
    )
    assert peg.length == content["length"]
    assert peg.progress is not None
    assert peg.progress.tolist() == [frame["progress"] for frame in content["frames"]]
    assert len(open_data_set(REPOSITORY / "training/heldout").problems) == 0


def test_a_task_and_file_names_are_enough(root: Path) -> None:
    write_json(
        root / "bare",
        {"task": "Wave.", "frames": [{"file": "0.png"}, {"file": "1.png"}]},
        ("0.png", "1.png"),
    )
    bare = next(each for each in open_data_set(root) if each.id == "bare")
    assert bare.steps.tolist() == [0, 1]
    assert bare.length == 1
    labels = (bare.success, bare.done, bare.progress, bare.rewards, bare.fps, bare.seed)
    assert labels == (None,) * 6


def test_success_is_the_last_frames_done_where_it_is_not_said(root: Path) -> None:
    frames = [{"file": "0.png", "done": False}, {"file": "1.png", "done": True}]
    write_json(root / "flags", {"task": "Wave.", "frames": frames}, ("0.png", "1.png"))
    flags = next(each for each in open_data_set(root) if each.id == "flags")
    assert flags.success is True


FRAME = {"file": "0.png"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"frames": [FRAME]}, "task"),
        ({"task": "Wave."}, "frames"),
        ({"task": "Wave.", "frames": []}, "frames"),
        ({"task": "  ", "frames": [FRAME]}, "task"),
        ({"task": "Wave.", "frames": [{}]}, "frames.0.file"),
        ({"task": "Wave.", "frames": [FRAME], "succes": True}, "succes"),
        ({"task": "Wave.", "frames": [FRAME], "success": "yes"}, "success"),
        ({"task": "Wave.", "frames": [FRAME], "success": 1}, "success"),
        ({"task": "Wave.", "frames": [{**FRAME, "progress": 1.2}]}, "frames.0.progress"),
        ({"task": "Wave.", "frames": [{**FRAME, "step": "0"}]}, "frames.0.step"),
        ({"task": "Wave.", "frames": [{**FRAME, "step": -1}]}, "frames.0.step"),
        ({"task": "Wave.", "frames": [FRAME], "fps": 0}, "fps"),
        ({"task": "Wave.", "frames": [{**FRAME, "step": 3}, {**FRAME, "step": 3}]}, "steps"),
        ({"task": "Wave.", "frames": [{**FRAME, "done": True}, FRAME]}, "frames.1.done"),
        ({"task": "Wave.", "frames": [{**FRAME, "done": True}], "success": False}, "done"),
        ({"task": "Wave.", "frames": [FRAME], "columns": {"a": ["b"]}}, "columns.a"),
        ({"task": "Wave.", "frames": [FRAME], "columns": {"a": [[1], [1, 2]]}}, "columns.a"),
        ({"task": "Wave.", "frames": [FRAME], "columns": {"a": [1, 2]}}, "'a'"),
        (
            {"task": "Wave.", "frames": [FRAME], "columns": {"a": [1]}, "dtypes": {"a": "O"}},
            "dtype",
        ),
        (
            {"task": "Wave.", "frames": [FRAME], "columns": {"a": [300]}, "dtypes": {"a": "uint8"}},
            "columns.a has numbers that are no uint8",
        ),
        (
            {"task": "Wave.", "frames": [FRAME], "columns": {"a": [None]}, "dtypes": {"a": "int8"}},
            "columns.a has gaps",
        ),
    ],
)
def test_a_wrong_episode_json_names_the_field(root: Path, content: object, named: str) -> None:
    write_json(root / "wrong", content)
    found = open_data_set(root)
    assert [each.id for each in found] == ["good"]
    (problem,) = found.problems
    assert problem.id == "wrong"
    assert named in problem.cause


def test_what_is_no_json_is_said(root: Path) -> None:
    write_json(root / "wrong", {})
    (root / "wrong/episode.json").write_text("{")
    assert "episode.json" in open_data_set(root).problems[0].cause


def test_a_folder_without_episode_json_is_a_problem(root: Path) -> None:
    (root / "empty").mkdir()
    (root / ".cache").mkdir()
    assert [problem.id for problem in open_data_set(root).problems] == ["empty"]


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../good/0000.png", "a/../../x.png", "..\\x.png", "C:\\x.png", ""]
)
def test_a_frame_outside_the_folder_is_refused(root: Path, name: str) -> None:
    write_json(root / "wrong", {"task": "Wave.", "frames": [{"file": name}]})
    assert "frames.0.file" in open_data_set(root).problems[0].cause


def test_an_id_that_is_taken_is_a_problem(root: Path) -> None:
    write_json(root / "twin", {"id": "good", "task": "Wave.", "frames": [FRAME]})
    assert "good" in open_data_set(root).problems[0].cause


def test_a_missing_frame_is_an_error_where_it_is_indexed(root: Path) -> None:
    (root / "good/0005.png").unlink()
    (good,) = open_data_set(root)
    with pytest.raises(RecordingError, match=r"'good', frame 1.*0005\.png"):
        good.frames[1]
    assert len(good.frames[0]) > 0
    assert len(good.frames[3]) > 0


@pytest.mark.parametrize("content", [b"", b"no image", encoded(noise(1))[:900]])
def test_a_corrupt_frame_is_an_error_where_it_is_indexed(root: Path, content: bytes) -> None:
    (root / "good/0005.png").write_bytes(content)
    (good,) = open_data_set(root)
    with pytest.raises(RecordingError, match=r"'good', frame 1.*0005\.png"):
        good.frames[1]
    assert len(good.frames[2]) > 0


def test_an_episode_without_any_frame_cannot_be_read(root: Path) -> None:
    write_json(root / "empty", {"task": "Wave.", "frames": [{"file": "gone.png"}]})
    assert [problem.id for problem in open_data_set(root).problems] == ["empty"]


def test_scores_are_columns_with_gaps(tmp_path: Path) -> None:
    episodes = [episode("a", 3), episode("b", 2)]
    write_folders(episodes, tmp_path / "set", {"a": {"progress": [0.25, None, 0.5]}})
    a, b = open_data_set(tmp_path / "set")
    np.testing.assert_array_equal(a.columns["score.progress"], [0.25, np.nan, 0.5])
    assert not b.columns


def test_scores_must_be_one_a_frame(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"score\.progress"):
        write_folders([episode("a", 3)], tmp_path / "set", {"a": {"progress": [0.25]}})


def test_nothing_is_written_over(root: Path) -> None:
    with pytest.raises(RecordingError, match="exists"):
        write_folders([unlabelled()], root)


def test_ids_become_names_of_folders(tmp_path: Path) -> None:
    write_folders([episode("a/../b: c")], tmp_path / "set")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["a_.._b__c"]
    assert open_data_set(tmp_path / "set")[0].id == "a/../b: c"


def test_a_reward_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    bad = episode("bad", 2, rewards=np.array([0.0, np.nan]))
    with pytest.raises(RecordingError, match=r"'bad' of Push-v1: step 5: reward"):
        write_folders([bad], tmp_path / "set")
    assert not (tmp_path / "set/bad").exists()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int32", "bool"])
def test_columns_keep_their_types(tmp_path: Path, dtype: str) -> None:
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    write_folders([episode("a", 3, columns={"action": values})], tmp_path / "set")
    found = open_data_set(tmp_path / "set")[0].columns["action"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
