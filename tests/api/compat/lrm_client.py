"""Requests as the LRM project's own client builds them, field by field."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

TASK = "pick up the red cube"

COMPARED = ("ImageA", "ImageB")
STAGES = tuple(f"{at / 10:.1f}" for at in range(11))
DONE = ("no", "yes")


def image(seed: int = 0, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def nested(pixels: np.ndarray) -> dict[str, Any]:
    return {
        "data": base64.b64encode(pixels.tobytes()).decode("utf-8"),
        "shape": list(pixels.shape),
        "dtype": str(pixels.dtype),
    }


def flat(name: str, pixels: np.ndarray) -> dict[str, Any]:
    sent = nested(pixels)
    return {name: sent["data"], f"{name}_shape": sent["shape"], f"{name}_dtype": sent["dtype"]}


def reward(pixels: np.ndarray, **images: np.ndarray) -> dict[str, Any]:
    body = {**flat("image", pixels), "task_description": TASK, "reward_type": "progress"}
    for name, other in images.items():
        body |= flat(name, other)
    return body


def rewards(images: list[np.ndarray], kind: str = "progress") -> dict[str, Any]:
    return {
        "images": [nested(pixels) for pixels in images],
        "task_descriptions": [TASK] * len(images),
        "reward_type": kind,
    }


def completion(pixels: np.ndarray) -> dict[str, Any]:
    return {**flat("image", pixels), "task_description": TASK}


def comparison(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    return {**flat("image_a", first), **flat("image_b", second), "task_description": TASK}


def film(count: int = 4, fps: float | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "frames": [nested(image(seed)) for seed in range(count)],
        "task_description": TASK,
    }
    return body if fps is None else {**body, "fps": fps}
