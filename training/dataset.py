"""Labelled key frames in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from tqdm import tqdm

from training.rollouts.features import Track
from training.rollouts.labels import facts, progress
from training.rollouts.store import HELD_OUT_FROM, decode_jpeg, load, paths
from training.tasks import TASK_BY_ID, TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.analysis import Fact
    from training.rollouts.labels import Calibrations
    from training.rollouts.store import Rollout
    from training.tasks import Task

# Share of the training frames that are compressed once more, and how hard: clients send what they
# send.
RECOMPRESSED_SHARE: Final = 0.4
RECOMPRESSED_QUALITY: Final = (60, 90)


@dataclass(frozen=True)
class Episode:
    """One rollout's key frames with their labels.

    Attributes:
        task: the task that was attempted.
        seed: the simulator's seed.
        kind: "expert", or what went wrong.
        steps: int32 (K,), the simulator steps of the frames.
        length: the rollout's last step.
        frames: uint8 (K, H, W, 3), RGB.
        progress: float64 (K,), in [0, 1].
        done: bool (K,), the task's success flag at the frame.
        facts: what each frame shows.
        state: float32 (K, F), the state features of the frames (rollouts.features.COLUMNS).
    """

    task: Task
    seed: int
    kind: str
    steps: NDArray[np.int32]
    length: int
    frames: NDArray[np.uint8]
    progress: NDArray[np.float64]
    done: NDArray[np.bool_]
    facts: tuple[Fact, ...]
    state: NDArray[np.float32]

    @property
    def success(self) -> bool:
        """Whether the rollout ends in success."""
        return bool(self.done[-1])


def episode_of(
    rollout: Rollout, calibrations: Calibrations, rng: np.random.Generator | None = None
) -> Episode:
    """Labels a rollout and decodes its frames; with an `rng`, some are compressed once more."""
    track, steps = Track.from_rows(rollout.rows), rollout.steps
    said = facts(rollout.env_id, track)
    jpegs = rollout.jpegs if rng is None else [_recompress(jpeg, rng) for jpeg in rollout.jpegs]
    return Episode(
        task=TASK_BY_ID[rollout.env_id],
        seed=rollout.seed,
        kind=rollout.kind,
        steps=steps,
        length=len(rollout.rows) - 1,
        frames=np.stack([decode_jpeg(jpeg) for jpeg in jpegs]),
        progress=progress(rollout, calibrations[rollout.env_id])[steps],
        done=track.success[steps],
        facts=tuple(said[step] for step in steps),
        state=rollout.rows[steps],
    )


def load_episodes(
    root: Path,
    calibrations: Calibrations,
    *,
    held_out: bool,
    limit: int | None = None,
    tasks: Sequence[Task] = TASKS,
) -> list[Episode]:
    """Loads one side of the split, ordered by seed, so that a limit keeps the tasks balanced.

    The rare scene that is solved before anything happens is left out: it has no start to compare
    with.
    """
    names = {task.env_id for task in tasks}
    chosen = [
        path
        for path in paths(root)
        if path.parent.name in names and (int(path.stem) >= HELD_OUT_FROM) == held_out
    ]
    chosen.sort(key=lambda path: (path.stem, path.parent.name))
    rng = None if held_out else np.random.default_rng(0)
    episodes = (
        episode_of(load(path), calibrations, rng)
        for path in tqdm(chosen[:limit], desc="frames", unit="episode", mininterval=5)
    )
    return [episode for episode in episodes if not episode.done[0]]


def _recompress(jpeg: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() >= RECOMPRESSED_SHARE:
        return jpeg
    buffer = io.BytesIO()
    Image.fromarray(decode_jpeg(jpeg)).save(
        buffer, format="JPEG", quality=int(rng.integers(*RECOMPRESSED_QUALITY))
    )
    return buffer.getvalue()
