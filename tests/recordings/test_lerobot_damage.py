"""LeRobot's layout, v3.0: what is broken is said, and the rest is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.writing import write_lerobot
from lrm_server.recordings.pixels import as_pixels
from tests.recordings.made import episode, noise

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.camera/chunk-000/file-000.mp4"


def change_info(root: Path, **fields: object) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_lerobot([episode("a"), episode("b")], tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    episodes = [episode(name, frames=[noise(i, 64, 64) for i in range(6)]) for name in "ab"]
    write_lerobot(episodes, tmp_path / "video", storage="video")
    return tmp_path / "video"


def test_a_corrupt_image_is_an_error_where_it_is_indexed(images: Path) -> None:
    table = pq.read_table(images / DATA)
    cells = table.column("observation.images.camera").to_pylist()
    cells[1]["bytes"] = cells[1]["bytes"][:60]
    cells[2] = {"bytes": None, "path": None}
    place = table.schema.get_field_index("observation.images.camera")
    column = pa.array(cells, table.schema.field(place).type)
    pq.write_table(table.set_column(place, "observation.images.camera", column), images / DATA)
    a, b = open_data_set(images)
    for index in (1, 2):
        with pytest.raises(RecordingError, match=rf"'a', frame {index}.*file-000\.parquet"):
            a.frames[index]
    assert len(a.frames[3]) > 0
    assert len(b.frames[0]) > 0


def test_a_missing_video_is_a_problem_of_its_episodes(video: Path) -> None:
    (video / VIDEO).unlink()
    with pytest.raises(RecordingError, match=r"file-000\.mp4"):
        open_data_set(video)


def test_a_truncated_video_is_an_error_where_it_is_indexed(video: Path) -> None:
    content = (video / VIDEO).read_bytes()
    (video / VIDEO).write_bytes(content[: len(content) // 2])
    a, b = open_data_set(video)
    assert a.success is True
    for one in (a, b):
        with pytest.raises(RecordingError, match=rf"'{one.id}', frame 3.*file-000\.mp4"):
            one.frames[3]


def test_frames_before_the_damage_are_read(video: Path) -> None:
    """The index of the file is whole, and the pictures after some point are not."""
    content = bytearray((video / VIDEO).read_bytes())
    begin, end = content.index(b"mdat"), content.index(b"moov")
    content[(begin + end) // 2 : end - 8] = bytes(end - 8 - (begin + end) // 2)
    (video / VIDEO).write_bytes(content)
    a, b = open_data_set(video)
    np.testing.assert_allclose(as_pixels(a.frames[0]).mean(), noise(0, 64, 64).mean(), atol=4)
    with pytest.raises(RecordingError, match="'b', frame 5"):
        b.frames[5]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fps": 0}, "fps"),
        ({"features": {"x": {"shape": [1]}}}, r"features\.x\.dtype"),
        ({"codebase_version": "v1.6"}, r"v1\.6"),
        ({"data_path": "../{chunk_index}/{file_index}.parquet"}, "data_path"),
        ({"data_path": "/{chunk_index}/{file_index}.parquet"}, "data_path"),
        ({"data_path": "data/{episode}.parquet"}, "data_path"),
        ({"features": {}}, "no camera"),
    ],
)
def test_a_wrong_info_names_the_field(images: Path, change: dict[str, object], named: str) -> None:
    change_info(images, **change)
    with pytest.raises(RecordingError, match=named):
        open_data_set(images)


@pytest.mark.parametrize("file", [EPISODES, "meta/tasks.parquet", "meta/info.json"])
def test_broken_metadata_is_named(images: Path, file: str) -> None:
    (images / file).write_bytes(b"broken")
    with pytest.raises(RecordingError, match=Path(file).name):
        open_data_set(images)


def test_a_broken_data_file_is_a_problem_of_its_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrm_server.recordings.lerobot.writing.MEGABYTE", 0)
    write_lerobot([episode(name) for name in "abc"], tmp_path / "set")
    (tmp_path / "set/data/chunk-000/file-001.parquet").write_bytes(b"broken")
    found = open_data_set(tmp_path / "set")
    assert [one.id for one in found] == ["a", "c"]
    assert len(found[1].frames[0]) > 0
    (problem,) = found.problems
    assert problem.id == "b"
    assert "file-001.parquet" in problem.cause


def test_rows_that_are_missing_are_a_problem(images: Path) -> None:
    pq.write_table(pq.read_table(images / DATA).slice(0, 6), images / DATA)
    found = open_data_set(images)
    assert [one.id for one in found] == ["a"]
    assert [problem.id for problem in found.problems] == ["b"]


def test_progress_out_of_range_is_a_problem(images: Path) -> None:
    table = pq.read_table(images / DATA)
    place = table.schema.get_field_index("progress")
    values = table.column("progress").to_pylist()
    values[1] = 1.5
    pq.write_table(table.set_column(place, "progress", pa.array(values)), images / DATA)
    found = open_data_set(images)
    assert [one.id for one in found] == ["b"]
    assert "progress" in found.problems[0].cause
