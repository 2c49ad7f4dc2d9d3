"""Makes tests/recordings/lerobot_v30 with the library itself.

pip install lerobot==0.4.4
PYTHONPATH=. python -m tests.recordings.make_lerobot_v30
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.recordings.lerobot_levels import EPISODES, FPS, level, shade

FOLDER = Path(__file__).parent / "lerobot_v30"


def features(cameras: dict[str, str]) -> dict[str, dict[str, object]]:
    names = ["height", "width", "channels"]
    return {
        **{
            f"observation.images.{camera}": {"dtype": dtype, "shape": (64, 64, 3), "names": names}
            for camera, dtype in cameras.items()
        },
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }


def write(root: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    cameras = {"front": "video", "wrist": "image"}
    data_set = LeRobotDataset.create("lrm/levels", FPS, features(cameras), root=root)
    for number, episode in enumerate(EPISODES):
        for index in range(episode.length):
            last = index == episode.length - 1
            data_set.add_frame(
                {
                    **{
                        f"observation.images.{camera}": shade(level(camera, number, index))
                        for camera in cameras
                    },
                    "observation.state": np.array([number, index, 0.5], np.float32),
                    "action": np.array([index, -index], np.float32),
                    "next.reward": np.array([float(last and episode.success)], np.float32),
                    "next.done": np.array([last]),
                    "next.success": np.array([last and episode.success]),
                    "task": episode.task,
                }
            )
        data_set.save_episode(parallel_encoding=False)
    data_set.finalize()
    leave_out_statistics(root / "meta/episodes/chunk-000/file-000.parquet")


def leave_out_statistics(path: Path) -> None:
    """Of each episode: most of the file's size, and not needed to open the data set."""
    table = pq.ParquetFile(path).read()
    kept = [name for name in table.column_names if not name.startswith("stats/")]
    pq.write_table(table.select(kept), path)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
