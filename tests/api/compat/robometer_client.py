"""Requests as the Robometer project's own client builds them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

TASK = "open the drawer"


def frames(count: int = 3, seed: int = 0, side: int = 32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def trajectory(pixels: Any, task: str = TASK) -> dict[str, Any]:
    return {
        "frames": pixels,
        "frames_shape": list(pixels.shape),
        "task": task,
        "id": "0",
        "metadata": {"subsequence_length": len(pixels)},
        "video_embeddings": None,
    }


def progress(pixels: np.ndarray, task: str = TASK) -> dict[str, Any]:
    return {"sample_type": "progress", "trajectory": trajectory(pixels, task)}


def preference(chosen: np.ndarray, rejected: np.ndarray) -> dict[str, Any]:
    return {
        "sample_type": "preference",
        "chosen_trajectory": trajectory(chosen),
        "rejected_trajectory": trajectory(rejected),
    }


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype.hasobject)
    return stream.getvalue()


def form(
    samples: list[dict[str, Any]], *, frame_steps: bool | None = None
) -> dict[str, dict[str, Any]]:
    """``files`` and ``data`` for ``requests.post``: arrays as files, samples as JSON."""
    files: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for at, sample in enumerate(samples):
        sent = json.loads(json.dumps(sample, default=lambda array: None))
        for key, value in sample.items():
            if isinstance(value, dict) and isinstance(value.get("frames"), np.ndarray):
                name = f"sample_{at}_{key}_frames"
                files[name] = (f"{name}.npy", npy(value["frames"]), "application/octet-stream")
                sent[key]["frames"] = {"__numpy_file__": name}
        data[f"sample_{at}"] = json.dumps(sent)
    if frame_steps is not None:
        data["use_frame_steps"] = "true" if frame_steps else "false"
    return {"files": files, "data": data}


def body(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {"samples": json.loads(json.dumps(samples, default=lambda array: array.tolist()))}


def rewards(answer: dict[str, Any]) -> list[float]:
    """What its client makes of a reply: each sample's last progress."""
    return [float(of_frames[-1]) for of_frames in answer["outputs_progress"]["progress_pred"]]
