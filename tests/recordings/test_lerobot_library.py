"""What lerobot writes is read here, and what is written here is read by lerobot."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from lrm_server.recordings.copying import copy_episodes
from lrm_server.recordings.data_set import DataSet, open_data_set
from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.lerobot.writing import Storage, write_lerobot
from lrm_server.recordings.pixels import as_pixels
from tests.recordings.foreign import CAMERA, write_foreign
from tests.recordings.lerobot_levels import EPISODES, FPS, level
from tests.recordings.made import episode, grey

WRITTEN_BY_LEROBOT = Path(__file__).parent / "lerobot_v30"

needs_lerobot = pytest.mark.skipif(
    importlib.util.find_spec("lerobot") is None,
    reason="lerobot is not installed: 0.4.4 needs an older torch than vLLM's, and an environment "
    "of its own",
)


def assert_levels(found: DataSet, camera: str) -> None:
    assert not found.problems
    for number, (one, wanted) in enumerate(zip(found, EPISODES, strict=True)):
        assert one.task == wanted.task
        assert one.success is wanted.success
        assert one.fps == FPS
        assert one.steps.tolist() == list(range(wanted.length))
        assert one.rewards is not None
        assert one.rewards.sum() == wanted.success
        assert one.columns["action"].tolist() == [[i, -i] for i in range(wanted.length)]
        levels = [as_pixels(frame).mean() for frame in one.frames]
        assert levels == pytest.approx(
            [level(camera, number, index) for index in range(wanted.length)], abs=2
        )


@pytest.mark.parametrize("camera", ["front", "wrist", "observation.images.front"])
def test_a_data_set_of_lerobots_is_read(camera: str) -> None:
    found = open_data_set(WRITTEN_BY_LEROBOT, camera=camera)
    assert found.layout == "lerobot v3.0"
    assert found.cameras == ("observation.images.front", "observation.images.wrist")
    assert_levels(found, camera.rpartition(".")[-1])


@pytest.mark.parametrize("camera", [None, "top"])
def test_one_of_several_cameras_must_be_chosen(camera: str | None) -> None:
    with pytest.raises(RecordingError, match="front, wrist"):
        open_data_set(WRITTEN_BY_LEROBOT, camera=camera)


@needs_lerobot
@pytest.mark.parametrize("storage", ["images", "video"])
def test_lerobot_reads_what_is_written(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    columns = {"action": np.arange(8, dtype=np.float32).reshape(4, 2)}
    episodes = [
        episode(f"e{i}", frames=[grey(60 * i + 10 * j, 64, 64) for j in range(4)], columns=columns)
        for i in range(3)
    ]
    write_lerobot(episodes, tmp_path / "set", storage=storage)
    found = LeRobotDataset("lrm/written", root=tmp_path / "set", video_backend="pyav")
    assert (len(found), found.num_episodes, found.fps) == (12, 3, 4)
    for row in range(12):
        item = found[row]
        number, index = divmod(row, 4)
        picture = item["observation.images.camera"].numpy()
        assert picture.shape == (3, 64, 64)
        assert picture.mean() * 255 == pytest.approx(60 * number + 10 * index, abs=3)
        assert item["task"] == "Push the block."
        assert item["action"].tolist() == columns["action"][index].tolist()
        assert item["next.success"].item() is (index >= 2)
        assert item["progress"].item() == pytest.approx(index / 3)
    assert set(found.meta.stats) >= {"action", "observation.images.camera"}


@needs_lerobot
def test_lerobot_reads_what_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    source = open_data_set(WRITTEN_BY_LEROBOT, camera="front")
    scores = {"episode_000001": {"progress": [0.1, 0.2, 0.3, None]}}
    copy_episodes(source, ["episode_000001", "episode_000002"], tmp_path / "copy", scores)
    found = LeRobotDataset("lrm/copied", root=tmp_path / "copy", video_backend="pyav")
    assert (len(found), found.num_episodes) == (5, 2)
    for row, (number, index) in enumerate([(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]):
        item = found[row]
        for camera in ("front", "wrist"):
            grey_level = item[f"observation.images.{camera}"].mean().item() * 255
            assert grey_level == pytest.approx(level(camera, number, index), abs=2)
        assert item["observation.state"].tolist() == [number, index, 0.5]
        assert item["task"] == EPISODES[number].task
    assert found[2]["score.progress"].item() == pytest.approx(0.3)


@needs_lerobot
def test_lerobot_reads_a_copy_of_what_is_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    lines = {1: {"success": True, "operator": "Ada"}}
    without = ("timestamp", "frame_index", "index", "task_index")
    source = open_data_set(write_foreign(tmp_path / "set", lines=lines, without=without))
    copy_episodes(source, [one.id for one in source], tmp_path / "copy")
    found = LeRobotDataset("lrm/copied", root=tmp_path / "copy")
    assert (len(found), found.num_episodes) == (6, 2)
    assert found[5]["task"] == "Push."
    assert found[5][CAMERA].mean().item() * 255 == pytest.approx(60, abs=1)
    assert found.meta.stats[CAMERA]["mean"].shape == (3, 1, 1)


@needs_lerobot
def test_what_lerobot_writes_now_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from tests.recordings.make_lerobot_v30 import write

    write(tmp_path / "set")
    for camera in ("front", "wrist"):
        assert_levels(open_data_set(tmp_path / "set", camera=camera), camera)
