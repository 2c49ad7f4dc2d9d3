"""What a camera, a lamp or a hand may do to a frame, as edits of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]

SHIFT: Final = 0.05
"""Share of the width (or height) by which the camera moves."""
BRIGHTNESS: Final = 0.3
"""Relative change of every channel, up and down."""
BLUR: Final = 0.01
"""Standard deviation of the blur as a share of the width."""
COVERED: Final = 0.15
"""Share of the frame's area that the patch hides."""
GREY: Final = 128


@dataclass(frozen=True, eq=False)
class NamedEdit:
    """An edit with a name; uint8 (H, W, 3) RGB in and out, the input unchanged."""

    name: str
    meaning: str
    change: Callable[[Pixels], Pixels]

    def __call__(self, pixels: Pixels) -> Pixels:
        """The edited frame."""
        return self.change(pixels)


def shifted(pixels: Pixels, right: float = 0.0, down: float = 0.0) -> Pixels:
    """The scene moved by shares of the width and height; the border is repeated."""
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(height) - round(down * height), 0, height - 1)
    columns = np.clip(np.arange(width) - round(right * width), 0, width - 1)
    moved: Pixels = pixels[rows][:, columns]
    return moved


def brightened(pixels: Pixels, factor: float) -> Pixels:
    """Every channel times a factor, clipped at white."""
    return np.asarray(np.clip(np.rint(pixels * factor), 0, 255), np.uint8)


def blurred(pixels: Pixels, share: float = BLUR) -> Pixels:
    """Gaussian blur whose standard deviation is a share of the width."""
    radius = share * pixels.shape[1]
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def covered(pixels: Pixels, across: float, along: float, share: float = COVERED) -> Pixels:
    """A grey patch of the frame's own shape over a share of its area.

    Args:
        pixels: uint8 (H, W, 3).
        across: place from left (0) to right (1).
        along: place from top (0) to bottom (1).
        share: of the area.
    """
    height, width = pixels.shape[:2]
    high, wide = round(height * share**0.5), round(width * share**0.5)
    top, left = round(along * (height - high)), round(across * (width - wide))
    result = pixels.copy()
    result[top : top + high, left : left + wide] = GREY
    return result


def standard_edits(seed: int, places: int) -> list[list[NamedEdit]]:
    """The edits of an audit, each as the variants that its probes take in turn.

    Args:
        seed: of the patch's places.
        places: how many places the patch is put at.
    """
    random = np.random.default_rng([seed, 2])
    spots = random.uniform(size=(max(places, 1), 2))
    percent, dark, light = round(SHIFT * 100), 1 - BRIGHTNESS, 1 + BRIGHTNESS
    single = [
        NamedEdit("shift left", f"by {percent} % of the width", lambda p: shifted(p, right=-SHIFT)),
        NamedEdit("shift right", f"by {percent} % of the width", lambda p: shifted(p, right=SHIFT)),
        NamedEdit("shift up", f"by {percent} % of the height", lambda p: shifted(p, down=-SHIFT)),
        NamedEdit("shift down", f"by {percent} % of the height", lambda p: shifted(p, down=SHIFT)),
        NamedEdit("darker", f"times {dark:.1f}", lambda p: brightened(p, dark)),
        NamedEdit("brighter", f"times {light:.1f}", lambda p: brightened(p, light)),
        NamedEdit("blur", f"sigma {BLUR * 100:.0f} % of the width", blurred),
    ]
    meaning = f"a grey patch over {COVERED * 100:.0f} % of the area"
    patches = [
        NamedEdit("occlusion", meaning, partial(covered, across=float(x), along=float(y)))
        for x, y in spots
    ]
    return [*([edit] for edit in single), patches]
