"""Frames as pixels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lrm_server.recordings.episode import Frame, RecordingError


def as_pixels(frame: Frame) -> NDArray[np.uint8]:
    """Decodes a frame to RGB, uint8 (H, W, 3).

    Raises:
        RecordingError: the bytes are no image that can be decoded.
    """
    if isinstance(frame, np.ndarray):
        return frame
    try:
        with Image.open(io.BytesIO(frame)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise RecordingError(f"a frame cannot be decoded: {error}") from error
