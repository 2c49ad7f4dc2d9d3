"""Images for requests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def pixels(height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form)
    return buffer.getvalue()


def png(height: int = 32, width: int = 32, seed: int = 0) -> bytes:
    return encoded(pixels(height, width, seed), "PNG")


def jpeg(height: int = 32, width: int = 32, seed: int = 0) -> bytes:
    return encoded(pixels(height, width, seed), "JPEG")
