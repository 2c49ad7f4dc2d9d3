"""What a scene looks like in one episode: where the camera stands, the light, the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Vector = tuple[float, float, float]

# Shares of the episodes: the camera at its usual place, a little off it, and somewhere else.
USUAL_SHARE: Final = 0.3
NEAR_SHARE: Final = 0.3
# A little off: metres, for the eye and for what it looks at.
EYE_SPREAD: Final = 0.05
TARGET_SPREAD: Final = 0.03
# Somewhere else: degrees around the scene and over it, and the distance as a factor.
AZIMUTH_DEG: Final = 35.0
ELEVATION_DEG: Final = 10.0
DISTANCE: Final = (0.8, 1.2)
# Share of the episodes with other light, and with another table.
LIT_SHARE: Final = 0.6
TABLE_SHARE: Final = 0.5
# Ambient light, and the directional lights' factor; the simulator's own are 0.3 and 1.
AMBIENT: Final = (0.15, 0.5)
DIRECTIONAL: Final = (0.5, 1.1)
# The colour of light is white, give or take.
TINT: Final = 0.12


@dataclass(frozen=True)
class CameraMove:
    """Where the camera stands, relative to the task's own camera.

    Attributes:
        eye: metres (x, y, z) that its eye is off.
        aim: metres (x, y, z) that the point it looks at is off.
        azimuth: degrees around the scene.
        elevation: degrees over the table.
        distance: factor of the distance to the scene.
    """

    eye: Vector
    aim: Vector
    azimuth: float = 0.0
    elevation: float = 0.0
    distance: float = 1.0


@dataclass(frozen=True)
class Look:
    """How an episode is filmed; the default changes nothing.

    Attributes:
        camera: where the camera stands; None for the task's own camera.
        ambient: RGB of the ambient light, or None for the simulator's.
        directional: RGB factor of the directional lights.
        table: RGB of a plain table, or None for the wooden one.
    """

    camera: CameraMove | None = None
    ambient: Vector | None = None
    directional: Vector = (1.0, 1.0, 1.0)
    table: Vector | None = None


def draw_look(seed: int) -> Look:
    """The look of an episode; the same seed gives the same one."""
    rng = np.random.default_rng([seed, 2])
    where = rng.random()
    eye, aim = (
        rng.uniform(-EYE_SPREAD, EYE_SPREAD, 3),
        rng.uniform(-TARGET_SPREAD, TARGET_SPREAD, 3),
    )
    camera = None
    if where >= USUAL_SHARE + NEAR_SHARE:
        camera = CameraMove(
            _vector(eye),
            _vector(aim),
            float(rng.uniform(-AZIMUTH_DEG, AZIMUTH_DEG)),
            float(rng.uniform(-ELEVATION_DEG, ELEVATION_DEG)),
            float(rng.uniform(*DISTANCE)),
        )
    elif where >= USUAL_SHARE:
        camera = CameraMove(_vector(eye), _vector(aim))
    ambient, directional, table = None, (1.0, 1.0, 1.0), None
    if rng.random() < LIT_SHARE:
        ambient = _vector(rng.uniform(*AMBIENT) * rng.uniform(1 - TINT, 1 + TINT, 3))
        directional = _vector(rng.uniform(*DIRECTIONAL) * rng.uniform(1 - TINT, 1 + TINT, 3))
    if rng.random() < TABLE_SHARE:
        grey, tint = rng.uniform(0.08, 0.7), rng.uniform(0.6, 1.0, 3)
        table = _vector(grey * tint / tint.max())
    return Look(camera, ambient, directional, table)


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = values.tolist()
    return (x, y, z)
