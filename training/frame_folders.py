"""Episodes as folders: JPEG frames and an `episode.json` that says what each of them shows.

    {"env_id", "task", "seed", "kind", "success", "length",
     "frames": [{"file", "step", "progress", "done"}, ...]}

`kind` is "expert" or what went wrong, `success` whether the episode ends in success, `length` its
last step; a frame's `progress` is in [0, 1] and `done` is the task's own success flag at that
frame.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from training.dataset import Episode


@dataclass(frozen=True)
class FrameLabel:
    """One frame: file, simulator step, progress in [0, 1], and whether the task is done."""

    file: str
    step: int
    progress: float
    done: bool


@dataclass(frozen=True)
class EpisodeFolder:
    """What an episode.json holds, and where it lies."""

    folder: Path
    env_id: str
    task: str
    seed: int
    kind: str
    success: bool
    length: int
    frames: tuple[FrameLabel, ...]

    def jpeg(self, index: int) -> bytes:
        """The bytes of a frame's file."""
        return (self.folder / self.frames[index].file).read_bytes()


def write(episode: Episode, chosen: list[int], root: Path, quality: int) -> Path:
    """Writes the chosen key frames of an episode as a folder under `root` and returns it."""
    name = f"{episode.task.env_id.split('-')[0].lower()}_{episode.seed}"
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    labels = []
    for index in chosen:
        step = int(episode.steps[index])
        file = f"{step:04d}.jpg"
        (folder / file).write_bytes(_encode(episode.frames[index], quality))
        labels.append(
            FrameLabel(
                file, step, round(float(episode.progress[index]), 3), bool(episode.done[index])
            )
        )
    content = {
        "env_id": episode.task.env_id,
        "task": f"{episode.task.text}.",
        "seed": episode.seed,
        "kind": episode.kind,
        "success": episode.success,
        "length": episode.length,
        "frames": [asdict(label) for label in labels],
    }
    (folder / "episode.json").write_text(json.dumps(content, indent=1) + "\n")
    return folder


def read(folder: Path) -> EpisodeFolder:
    """Reads a folder that `write` made."""
    content = json.loads((folder / "episode.json").read_text())
    frames = tuple(FrameLabel(**frame) for frame in content.pop("frames"))
    return EpisodeFolder(folder=folder, frames=frames, **content)


def read_all(root: Path) -> list[EpisodeFolder]:
    """All episodes under `root`, in the order of their names."""
    return [read(path.parent) for path in sorted(root.glob("*/episode.json"))]


def _encode(frame: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
