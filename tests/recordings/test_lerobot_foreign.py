"""LeRobot's layout as others write it: what is missing, unknown or odd is no made-up label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lrm_server.recordings.copying import copy_episodes
from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.writing import write_lerobot
from tests.recordings.foreign import CAMERA, write_foreign

DATA = "data/chunk-000/file-000.parquet"
FIRST, SECOND = "episode_000000", "episode_000001"


def flags(kind: pa.DataType, *values: object) -> pa.Array:
    return pa.array(values, kind)


@pytest.mark.parametrize(
    "column",
    [
        flags(pa.int64(), 0, 0, None),
        flags(pa.int64(), None, 0, 1),
        flags(pa.bool_(), False, True, None),
        flags(pa.float64(), 0.0, 0.0, float("nan")),
        flags(pa.int64(), None, None, None),
    ],
)
def test_an_unknown_success_is_none(tmp_path: Path, column: pa.Array) -> None:
    for one in open_data_set(write_foreign(tmp_path / "set", columns={"next.success": column})):
        assert (one.success, one.done) == (None, None)


@pytest.mark.parametrize(
    ("said", "wanted"), [(True, True), (False, False), (1, True), (0, False), (0.0, False)]
)
def test_success_in_the_metadata(tmp_path: Path, said: object, wanted: bool) -> None:
    root = write_foreign(tmp_path / "set", lines={0: {"success": said}})
    first, second = open_data_set(root)
    assert first.success is wanted
    assert second.success is None


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ({"success": "false"}, "success.*true or false"),
        ({"success": 2}, "success"),
        ({"lrm/length": "x"}, "lrm/length"),
        ({"lrm/seed": 0.5}, "lrm/seed"),
        ({"tasks": "Push."}, "tasks.*list"),
        ({"tasks": [3]}, "tasks"),
        ({"length": None}, "length"),
        ({"length": "3"}, "length"),
        ({"episode_index": -1}, "episode_index"),
    ],
)
def test_wrong_metadata_are_a_problem_of_their_episode_alone(
    tmp_path: Path, line: dict[str, Any], named: str
) -> None:
    found = open_data_set(write_foreign(tmp_path / "set", lines={0: line}))
    assert [one.id for one in found] == [SECOND]
    (problem,) = found.problems
    with pytest.raises(RecordingError, match=named):
        raise RecordingError(problem.cause)


@pytest.mark.parametrize(
    ("name", "values", "shape"),
    [
        ("next.success", [[True, False]] * 3, [2]),
        ("next.success", [0.0, 0.3, 1.0], [1]),
        ("next.reward", [[0.0, 1.0]] * 3, [2]),
        ("lrm.step", flags(pa.int64(), 0, None, None), [1]),
        ("action", [{"x": 1.0}] * 3, [1]),
        ("action", [[1.0], [1.0, 2.0], [1.0]], [1]),
    ],
)
def test_a_wrong_column_is_a_problem_of_its_episodes(
    tmp_path: Path, name: str, values: Any, shape: list[int]
) -> None:
    root = write_foreign(tmp_path / "set", columns={name: values}, shapes={name: shape}, only=0)
    found = open_data_set(root)
    assert [one.id for one in found] == [SECOND]
    (problem,) = found.problems
    assert problem.id == FIRST
    assert name in problem.cause


def test_an_unknown_task_is_a_problem_of_its_episode(tmp_path: Path) -> None:
    column = {"task_index": flags(pa.int64(), None, None, None)}
    root = write_foreign(tmp_path / "set", columns=column, only=0, lines={0: {"tasks": []}})
    found = open_data_set(root)
    assert [one.id for one in found] == [SECOND]
    assert "no task" in found.problems[0].cause


def test_tasks_without_their_number_are_named(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", tasks=[{"idx": 0}])
    with pytest.raises(RecordingError, match=r"tasks\.jsonl.*task_index"):
        open_data_set(root)


def test_of_several_tasks_the_rows_name_theirs(tmp_path: Path) -> None:
    tasks = [{"task_index": 0, "task": "Push."}, {"task_index": 1, "task": "Pull."}]
    lines = {0: {"tasks": ["Pull.", "Push."]}, 1: {"tasks": ["Pull."]}}
    root = write_foreign(tmp_path / "set", tasks=tasks, lines=lines)
    assert [one.task for one in open_data_set(root)] == ["Push.", "Pull."]


def test_only_the_episodes_number_is_needed_of_the_rows(tmp_path: Path) -> None:
    without = ("timestamp", "frame_index", "index", "task_index")
    root = write_foreign(tmp_path / "set", without=without)
    found = open_data_set(root)
    assert not found.problems
    assert [one.task for one in found] == ["Push.", "Push."]
    copy_episodes(found, [SECOND], tmp_path / "copy")
    rows = pq.read_table(tmp_path / "copy" / DATA).to_pydict()
    assert rows["timestamp"] == pytest.approx([0.0, 0.1, 0.2])
    assert rows["frame_index"] == rows["index"] == [0, 1, 2]
    assert rows["task_index"] == [0, 0, 0]
    features = json.loads((tmp_path / "copy/meta/info.json").read_text())["features"]
    assert (features["timestamp"]["dtype"], features["task_index"]["dtype"]) == ("float32", "int64")


def test_progress_of_others_may_be_a_percentage(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", columns={"progress": [0.0, 50.0, 100.0]})
    for one in open_data_set(root):
        assert one.progress is None
        assert one.columns["progress"].tolist() == [0, 50, 100]


def test_outcomes_are_written_as_they_were_recorded(tmp_path: Path) -> None:
    columns = {
        "next.success": [False, False, True],
        "next.reward": flags(pa.float32(), 0.0, 0.25, 1.0),
        "next.done": [False, False, True],
    }
    source = write_foreign(tmp_path / "source", columns=columns)
    for generation in ("one", "two"):
        write_lerobot(open_data_set(source), tmp_path / generation)
        source = tmp_path / generation
        rows = pq.read_table(source / DATA).to_pydict()
        assert rows["next.success"] == columns["next.success"] * 2
        assert rows["next.reward"] == [0.0, 0.25, 1.0] * 2
        assert rows["next.done"] == columns["next.done"] * 2


def test_outcomes_with_gaps_are_not_filled(tmp_path: Path) -> None:
    columns = {"next.success": flags(pa.bool_(), False, None, True)}
    root = write_foreign(tmp_path / "source", columns=columns, lines={0: {"success": True}})
    write_lerobot(open_data_set(root), tmp_path / "set")
    assert "next.success" not in pq.read_table(tmp_path / "set" / DATA).column_names


@pytest.mark.parametrize(
    "camera", ["observation.images.x/../../../../out/a", "..", ".", "", "a\\b", "a/b"]
)
def test_a_camera_names_no_other_folder(tmp_path: Path, camera: str) -> None:
    root = write_foreign(tmp_path / "set", camera=camera)
    with pytest.raises(RecordingError, match="must be a name without"):
        open_data_set(root)


def test_a_camera_that_is_written_names_no_other_folder(tmp_path: Path) -> None:
    found = open_data_set(write_foreign(tmp_path / "set"))
    with pytest.raises(RecordingError, match="must be a name without"):
        write_lerobot(found, tmp_path / "out", camera="../../a", storage="video")
    assert not (tmp_path / "out").exists()


def test_a_copy_keeps_what_the_first_episode_does_not_say(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", lines={1: {"success": False, "operator": "Ada"}})
    found = open_data_set(root)
    copy_episodes(found, [FIRST, SECOND], tmp_path / "copy")
    assert [one.success for one in open_data_set(tmp_path / "copy")] == [None, False]
    metadata = pq.read_table(tmp_path / "copy/meta/episodes").to_pydict()
    assert metadata["operator"] == [None, "Ada"]


def test_a_copy_is_without_an_episode_whose_id_is_taken(tmp_path: Path) -> None:
    lines = {0: {"lrm/id": "same"}, 1: {"lrm/id": "same"}}
    found = open_data_set(write_foreign(tmp_path / "set", lines=lines))
    assert (len(found), len(found.problems)) == (1, 1)
    copy_episodes(found, ["same"], tmp_path / "copy")
    assert pq.read_table(tmp_path / "copy" / DATA).num_rows == len(found[0].frames)


def test_metadata_of_two_kinds_are_named(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", lines={0: {"note": 1}, 1: {"note": "one"}})
    with pytest.raises(RecordingError, match="note"):
        copy_episodes(open_data_set(root), [FIRST, SECOND], tmp_path / "copy")


def test_rows_of_two_kinds_are_named(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", columns={"action": [1.0, 2.0, 3.0]}, only=0)
    with pytest.raises(RecordingError, match=r"episode_000001\.parquet.*action"):
        copy_episodes(open_data_set(root), [FIRST, SECOND], tmp_path / "copy")


def test_a_copy_has_statistics_of_its_cameras(tmp_path: Path) -> None:
    copy_episodes(open_data_set(write_foreign(tmp_path / "set")), [SECOND], tmp_path / "copy")
    stats = json.loads((tmp_path / "copy/meta/stats.json").read_text())[CAMERA]
    np.testing.assert_allclose(stats["mean"], np.full((3, 1, 1), 30 / 255))
    assert np.shape(stats["std"]) == np.shape(stats["min"]) == (3, 1, 1)
    assert stats["count"] == [3]


def test_words_among_the_columns_are_kept_by_a_copy(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", columns={"said": ["a", "b", "c"]})
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["said"]["dtype"] = "string"
    (root / "meta/info.json").write_text(json.dumps(info))
    copy_episodes(open_data_set(root), [FIRST], tmp_path / "copy")
    assert pq.read_table(tmp_path / "copy" / DATA).to_pydict()["said"] == ["a", "b", "c"]
