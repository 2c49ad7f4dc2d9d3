"""What a camera changes from one day to the next: a little shift, brightness, colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Pixels that a frame may be shifted by, each way; the border is repeated.
SHIFT: Final = 5
# Gain of all channels, and of each channel on top.
GAIN: Final = (0.75, 1.25)
CHANNEL_GAIN: Final = (0.92, 1.08)
# Share of the episodes that are out of focus, and how far: pixels of the blur's radius.
BLURRED_SHARE: Final = 0.15
BLUR: Final = (0.4, 1.2)
# Share of the episodes in which something stands in the picture, and its side in pixels.
COVERED_SHARE: Final = 0.1
COVER: Final = (16, 44)


def augment(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shifts, tints, blurs and covers the frames of one episode, uint8 (K, H, W, 3), all alike.

    One camera, one light.
    """
    _, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    top, left = rng.integers(0, 2 * SHIFT + 1, 2)
    cut = padded[:, top : top + height, left : left + width]
    gain = rng.uniform(*GAIN) * rng.uniform(*CHANNEL_GAIN, 3)
    # A table of 256 values per channel is much cheaper than arithmetic on every pixel.
    table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)
    made = np.stack([table[:, channel][cut[..., channel]] for channel in range(3)], axis=-1)
    if rng.random() < BLURRED_SHARE:
        blur = ImageFilter.GaussianBlur(float(rng.uniform(*BLUR)))
        made = np.stack([np.asarray(Image.fromarray(frame).filter(blur)) for frame in made])
    if rng.random() < COVERED_SHARE:
        tall, wide = rng.integers(*COVER, 2)
        top, left = rng.integers(0, height - tall), rng.integers(0, width - wide)
        made[:, top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    return made
