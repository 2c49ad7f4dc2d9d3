"""Where an adapter's frames come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lrm_client.vector_base import Frames

RENDER: Final = "render"
OBSERVATION: Final = "observation"

Camera: TypeAlias = str | Callable[[NDArray[np.intp]], Frames]
"""``render``: what ``env.render()`` gives; ``observation``: the observation itself, or a part
of it, as in ``observation/sensor_data/base_camera/rgb``; or what renders the environments
whose indices, intp (M,), it is given, as uint8 (M, H, W, 3) in their order."""


def observation_path(camera: str) -> tuple[str, ...] | None:
    """The keys that lead to the pixels of an observation; None for ``render``.

    Raises:
        ValueError: the camera is neither.
    """
    source, *path = camera.split("/")
    if source == OBSERVATION:
        return tuple(path)
    if camera != RENDER:
        raise ValueError(
            f"camera must be {RENDER}, {OBSERVATION}[/KEY...] or a function, not {camera!r}"
        )
    return None


def part_of(observation: Any, path: Sequence[str]) -> Any:
    """What the keys of ``observation_path`` lead to, in an observation or in its space.

    Raises:
        ValueError: a key is not there; the message names those that are.
    """
    part = observation
    for depth, key in enumerate(path):
        # A list, since ``in`` asks a space for its values.
        keys = list(part) if isinstance(part, Mapping) else []
        if key not in keys:
            place, there = "/".join([OBSERVATION, *path[:depth]]), ", ".join(map(str, keys))
            raise ValueError(f"camera: {place} has no {key!r}; it has {there or 'no keys'}")
        part = part[key]
    return part


def check_pixels(space: Any, path: Sequence[str]) -> None:
    """Refuses a camera whose part of an observation space holds no frames.

    Args:
        space: the space of one environment's observation.
        path: of ``observation_path``.

    Raises:
        ValueError: the part is not there, or is not uint8 (H, W, 3).
    """
    part = part_of(space, path)
    shape: tuple[int, ...] = getattr(part, "shape", None) or ()
    if len(shape) != 3 or shape[-1] != 3 or part.dtype != np.uint8:
        raise ValueError(
            f"camera: {'/'.join([OBSERVATION, *path])} must be uint8 (H, W, 3), not {part}"
        )


def check_renders(render_mode: str | None) -> None:
    """Refuses an environment whose ``render`` gives no frames.

    Raises:
        ValueError: the mode is not ``rgb_array``.
    """
    if render_mode != "rgb_array":
        raise ValueError(
            f"camera={RENDER!r} needs environments made with render_mode='rgb_array', not "
            f"{render_mode!r}"
        )
