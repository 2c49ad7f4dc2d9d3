"""The bundled rollouts: key frames of rendered attempts, and how far each one truly was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One attempt at a task.

    Attributes:
        name: of its folder.
        task: in words.
        success: whether it ends in success.
        kind: ``expert``, or what went wrong.
        length: its last step; step 0 is the reset observation.
        steps: int64 (F,): the steps of its key frames, ascending, from 0 to ``length``.
        progress: float64 (F,): true progress at the key frames, in [0, 1].
        frames: the key frames as JPEG files.
    """

    name: str
    task: str
    success: bool
    kind: str
    length: int
    steps: NDArray[np.int64]
    progress: NDArray[np.float64]
    frames: tuple[bytes, ...]

    @property
    def outcome(self) -> str:
        """success, or what went wrong."""
        return "success" if self.success else f"failure ({self.kind})"

    def frame_at(self, step: int) -> bytes:
        """The latest key frame at or before a step."""
        return self.frames[int(np.searchsorted(self.steps, step, side="right")) - 1]


def bundled_rollouts() -> list[Rollout]:
    """The rollouts that ship with the package, successes first."""
    root = Path(str(resources.files("lrm_server.demo") / "rollouts"))
    rollouts = [read_rollout(path.parent) for path in sorted(root.glob("*/episode.json"))]
    return sorted(rollouts, key=lambda rollout: not rollout.success)


def read_rollout(folder: Path) -> Rollout:
    """Reads a folder of JPEG frames and an ``episode.json`` that says what they show."""
    content = json.loads((folder / "episode.json").read_text("utf-8"))
    labels = content["frames"]
    return Rollout(
        name=folder.name,
        task=content["task"],
        success=content["success"],
        kind=content["kind"],
        length=content["length"],
        steps=np.asarray([label["step"] for label in labels], np.int64),
        progress=np.asarray([label["progress"] for label in labels], np.float64),
        frames=tuple((folder / label["file"]).read_bytes() for label in labels),
    )
