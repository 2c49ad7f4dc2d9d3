"""Rollouts on disk: one compressed file per episode, written whole or not at all."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Quality of the stored JPEG frames: the model is trained on frames as a client would send them.
JPEG_QUALITY: Final = 90
# Seeds from here on are never trained on.
HELD_OUT_FROM: Final = 100_000


@dataclass(frozen=True)
class Rollout:
    """One attempt.

    Attributes:
        env_id: the task's simulator name.
        seed: the simulator's seed.
        kind: "expert", or what went wrong.
        moved_camera: whether the camera stood a little off its usual place.
        rows: float32 (T, F), the state features of every step (training.rollouts.features.COLUMNS).
        steps: int32 (K,), the rendered steps.
        jpegs: the rendered frames, JPEG, in the order of `steps`.
    """

    env_id: str
    seed: int
    kind: str
    moved_camera: bool
    rows: NDArray[np.float32]
    steps: NDArray[np.int32]
    jpegs: tuple[bytes, ...]

    @property
    def held_out(self) -> bool:
        """Whether the episode's seed is one that is never trained on."""
        return self.seed >= HELD_OUT_FROM


@dataclass(frozen=True)
class _Meta:
    env_id: str
    seed: int
    kind: str
    moved_camera: bool


def encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """Encodes an RGB frame, uint8 (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Decodes a JPEG into RGB, uint8 (H, W, 3)."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def path_of(root: Path, env_id: str, seed: int) -> Path:
    """Where an episode's file stands under `root`."""
    return root / env_id / f"{seed:06d}.npz"


def save(rollout: Rollout, root: Path) -> None:
    """Writes a rollout; an interrupted write leaves no file under its name."""
    path = path_of(root, rollout.env_id, rollout.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = _Meta(rollout.env_id, rollout.seed, rollout.kind, rollout.moved_camera)
    blob = np.frombuffer(b"".join(rollout.jpegs), dtype=np.uint8)
    sizes = np.array([len(jpeg) for jpeg in rollout.jpegs], dtype=np.int64)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            meta=np.array(json.dumps(asdict(meta))),
            rows=rollout.rows,
            steps=rollout.steps,
            blob=blob,
            sizes=sizes,
        )
    part.rename(path)


def load(path: Path) -> Rollout:
    """Reads a rollout."""
    with np.load(path) as file:
        meta = _Meta(**json.loads(str(file["meta"])))
        ends = np.cumsum(file["sizes"])
        blob = file["blob"].tobytes()
        jpegs = tuple(blob[end - size : end] for end, size in zip(ends, file["sizes"], strict=True))
        return Rollout(
            meta.env_id, meta.seed, meta.kind, meta.moved_camera, file["rows"], file["steps"], jpegs
        )


def paths(root: Path) -> list[Path]:
    """All episodes under `root`, in a fixed order."""
    return sorted(root.glob("*/*.npz"))
