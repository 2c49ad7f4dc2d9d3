"""Frames of ManiSkill's batched environments, from one of their cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lrm_client.envs.cameras import OBSERVATION, RENDER, Camera, check_pixels, part_of
from lrm_client.errors import InvalidRequest
from lrm_client.vector_base import Frames

SENSOR: Final = "sensor"

FrameReader: TypeAlias = Callable[[Any, NDArray[np.intp]], Frames]
"""Gives the frames of the environments whose indices, intp (M,), it is told, in their order;
its first argument is the last observation of all of them."""


def frame_reader(env: Any, camera: Camera) -> FrameReader:
    """What reads the frames of a ManiSkill environment.

    ManiSkill renders all environments at once, on its device. The frames that are wanted are
    chosen there, and moved in one piece.

    Args:
        env: made by ``gymnasium.make``.
        camera: as ``ManiSkillRewardEnv`` is told.

    Raises:
        ValueError: the environment has no such camera, or renders nothing.
    """
    if not isinstance(camera, str):
        return lambda observation, due: camera(due)
    source, *path = camera.split("/")
    base = env.unwrapped
    if source == OBSERVATION:
        check_pixels(env.get_wrapper_attr("single_observation_space"), path)
        return lambda observation, due: _chosen(part_of(observation, path), due, base.num_envs)
    if source not in (RENDER, SENSOR):
        raise ValueError(
            f"camera must be {RENDER}[/NAME], {SENSOR}/NAME, {OBSERVATION}/KEY... or a function, "
            f"not {camera!r}"
        )
    if not base.scene.can_render():
        raise ValueError(f"camera={camera!r} needs an environment with another render_backend")
    name = "/".join(path)
    if source == SENSOR:
        _check_name(camera, name, base.scene.sensors)
        return lambda observation, due: _chosen(_sensor(base, name), due, base.num_envs)
    # Unnamed, it is the only one: several would be tiled into one image.
    _check_name(camera, name, base.scene.human_render_cameras, alone=not path)
    named = {"camera_name": name} if path else {}
    return lambda observation, due: _chosen(base.render_rgb_array(**named), due, base.num_envs)


def _check_name(
    camera: str, name: str, cameras: Mapping[str, object], *, alone: bool = False
) -> None:
    if len(cameras) == 1 if alone else name in cameras:
        return
    source = camera.partition("/")[0]
    choices = ", ".join(f"{source}/{known}" for known in cameras) or f"no camera for {source}"
    raise ValueError(f"camera={camera!r} must name a camera; the environment has {choices}")


def _sensor(base: Any, name: str) -> Any:
    """What one camera of the policy sees, also where its observation has no pixels.

    ManiSkill's own functions render every sensor, with depth; this renders one.
    """
    # Markers of the goal, say, which the sensors are not to see.
    for hidden in base._hidden_objects:
        hidden.hide_visual()
    base.scene.update_render(update_sensors=True, update_human_render_cameras=False)
    sensor = base.scene.sensors[name]
    sensor.capture()
    return sensor.get_obs(rgb=True, depth=False, position=False, segmentation=False)["rgb"]


def _chosen(frames: Any, due: NDArray[np.intp], count: int) -> Frames:
    """The wanted ones of all environments' frames, uint8 (M, H, W, 3), on the host."""
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    if len(shape) != 4 or shape[0] != count:
        raise InvalidRequest(
            f"a camera must give the frames of all environments, ({count}, H, W, 3), not "
            f"{tuple(shape) if shape else type(frames).__name__}",
            field="camera",
        )
    if len(due) < count:
        frames = frames[due.tolist()]
    if hasattr(frames, "cpu"):
        # Pixels are a slice of RGBA textures. Closed up on the device, they are moved at once.
        frames = frames.contiguous().cpu().numpy()
    pixels: Frames = frames
    return pixels
