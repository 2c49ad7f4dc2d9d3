"""LeRobot's layout before v3.0: a Parquet file and a video an episode."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lrm_server.recordings.copying import copy_episodes
from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.pixels import as_pixels
from lrm_server.recordings.video import VideoWriter
from tests.recordings.lerobot_levels import EPISODES, FPS, level, shade

FEATURES = {
    "observation.images.front": {"dtype": "video", "shape": [64, 64, 3], "names": None},
    "action": {"dtype": "float32", "shape": [2], "names": None},
    "next.success": {"dtype": "bool", "shape": [1], "names": None},
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    **{
        name: {"dtype": "int64", "shape": [1], "names": None}
        for name in ("frame_index", "episode_index", "index", "task_index")
    },
}
TASKS = list(dict.fromkeys(episode.task for episode in EPISODES))


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As lerobot 0.3 wrote it, two files a chunk."""
    root = tmp_path / "set"
    (root / "meta").mkdir(parents=True)
    info = {
        "codebase_version": "v2.1",
        "fps": FPS,
        "chunks_size": 2,
        "features": FEATURES,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    write_lines(
        root / "meta/tasks.jsonl",
        [{"task_index": index, "task": task} for index, task in enumerate(TASKS)],
    )
    write_lines(
        root / "meta/episodes.jsonl",
        [
            {"episode_index": index, "tasks": [episode.task], "length": episode.length}
            for index, episode in enumerate(EPISODES)
        ],
    )
    for index, episode in enumerate(EPISODES):
        data = root / f"data/chunk-{index // 2:03d}/episode_{index:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        count = episode.length
        frames = np.arange(count)
        table = {
            "action": [[float(i), -float(i)] for i in frames],
            "next.success": (frames == count - 1) & episode.success,
            "timestamp": (frames / FPS).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(count, index),
            "index": frames,
            "task_index": np.full(count, TASKS.index(episode.task)),
        }
        pq.write_table(pa.table(table), data)
        video = root / (
            f"videos/chunk-{index // 2:03d}/observation.images.front/episode_{index:06d}.mp4"
        )
        video.parent.mkdir(parents=True, exist_ok=True)
        writer = VideoWriter(video, Fraction(FPS), 64, 64, 18)
        for i in frames:
            writer.add(shade(level("front", index, int(i))))
        writer.close()
    return root


def test_it_is_read(root: Path) -> None:
    found = open_data_set(root)
    assert found.layout == "lerobot v2.1"
    assert found.camera == "observation.images.front"
    assert not found.problems
    for number, (one, wanted) in enumerate(zip(found, EPISODES, strict=True)):
        assert one.id == f"episode_{number:06d}"
        assert (one.task, one.success, one.fps) == (wanted.task, wanted.success, FPS)
        assert one.columns["action"].tolist() == [[i, -i] for i in range(wanted.length)]
        levels = [as_pixels(frame).mean() for frame in one.frames]
        assert levels == pytest.approx(
            [level("front", number, index) for index in range(wanted.length)], abs=2
        )


def test_the_tasks_file_is_asked_where_the_episode_names_none(root: Path) -> None:
    rows = [{"episode_index": i, "length": e.length} for i, e in enumerate(EPISODES)]
    write_lines(root / "meta/episodes.jsonl", rows)
    assert [one.task for one in open_data_set(root)] == [episode.task for episode in EPISODES]


@pytest.mark.parametrize(
    "file",
    [
        "videos/chunk-000/observation.images.front/episode_000001.mp4",
        "data/chunk-000/episode_000001.parquet",
    ],
)
def test_a_missing_file_is_a_problem_of_its_episode_alone(root: Path, file: str) -> None:
    (root / file).unlink()
    found = open_data_set(root)
    assert [one.id for one in found] == ["episode_000000", "episode_000002"]
    (problem,) = found.problems
    assert problem.id == "episode_000001"
    assert Path(file).name in problem.cause


def test_a_copy_is_of_the_newer_version(root: Path, tmp_path: Path) -> None:
    copy_episodes(open_data_set(root), ["episode_000000", "episode_000002"], tmp_path / "copy")
    found = open_data_set(tmp_path / "copy")
    assert found.layout == "lerobot v3.0"
    assert [one.id for one in found] == ["episode_000000", "episode_000002"]
    for one, number in zip(found, (0, 2), strict=True):
        wanted = EPISODES[number]
        assert (one.task, one.success, one.fps) == (wanted.task, wanted.success, FPS)
        levels = [as_pixels(frame).mean() for frame in one.frames]
        assert levels == pytest.approx(
            [level("front", number, index) for index in range(wanted.length)], abs=2
        )
