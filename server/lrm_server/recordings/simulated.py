"""What a simulator gives, as numpy: arrays, tensors on any device, and batches of one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordingError


def as_frame(pixels: Any, source: str) -> NDArray[np.uint8]:
    """A copy of a picture, uint8 (H, W, 3), from an array or tensor of it or of a batch of one.

    Raises:
        RecordingError: it is something else; the error says what.
    """
    array = as_array(pixels)
    if array is not None and array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array is None or array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        found = type(pixels).__name__ if array is None else f"{array.dtype} {array.shape}"
        raise RecordingError(
            f"{source} gave {found}, not one picture, uint8 (H, W, 3): make the environment with "
            'render_mode="rgb_array", or choose a camera of the observation'
        )
    return np.array(array)


def as_array(value: Any) -> NDArray[Any] | None:
    """A number, array or tensor (wherever it is) as an array; None for what is none."""
    if hasattr(value, "cpu"):
        value = value.cpu().numpy()
    if isinstance(value, np.ndarray | np.generic | int | float):
        return np.asarray(value)
    return None


def as_row(action: Any) -> NDArray[Any] | None:
    """A copy of an action as (n,); None for one that is not numbers alone."""
    array = as_array(action)
    return None if array is None or array.dtype.kind not in "biuf" else np.array(array).reshape(-1)


def as_number(value: Any) -> float:
    """A reward.

    Raises:
        RecordingError: it is not one number.
    """
    array = as_array(value)
    if array is None or array.size != 1:
        raise RecordingError(f"the reward is {value!r}, not one number: record one environment")
    return float(array.reshape(-1)[0])


def as_flag(value: Any) -> bool:
    """Terminated, truncated or success.

    Raises:
        RecordingError: it is not one flag.
    """
    array = as_array(value)
    if array is None or array.size != 1:
        raise RecordingError(f"{value!r} is not one flag: record one environment at a time")
    return bool(array.reshape(-1)[0])
