"""What a camera changes from one day to the next: a little shift, brightness, colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Pixels that a frame may be shifted by, each way; the border is repeated.
SHIFT: Final = 3
# Gain of all channels, and of each channel on top.
GAIN: Final = (0.88, 1.12)
CHANNEL_GAIN: Final = (0.95, 1.05)


def augment(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shifts and tints the frames of one episode, uint8 (K, H, W, 3), all alike.

    One camera, one light.
    """
    _, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    top, left = rng.integers(0, 2 * SHIFT + 1, 2)
    cut = padded[:, top : top + height, left : left + width]
    gain = rng.uniform(*GAIN) * rng.uniform(*CHANNEL_GAIN, 3)
    # A table of 256 values per channel is much cheaper than arithmetic on every pixel.
    table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)
    return np.stack([table[:, channel][cut[..., channel]] for channel in range(3)], axis=-1)
