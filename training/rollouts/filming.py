"""Films a simulated scene in a look, and leaves it as it was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sapien
from mani_skill.utils import sapien_utils

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.rollouts.look import CameraMove, Look

# Elevations of an eye that was moved up or down, in degrees: below, the table hides the scene.
ELEVATIONS_DEG: Final = (6.0, 80.0)
# What a camera looks at is at least this far away (metres).
NEAREST_AIM: Final = 0.2


@contextmanager
def filmed(env: Any, look: Look) -> Iterator[None]:
    """Films an unwrapped ManiSkill environment in a look; afterwards all is as before."""
    camera = env.scene.human_render_cameras["render_camera"].camera
    usual = camera.get_local_pose().sp
    system = env.scene.sub_scenes[0].render_system
    ambient = system.ambient_light
    lights = [
        (component, component.color)
        for entity in env.scene.sub_scenes[0].entities
        for component in entity.components
        if isinstance(component, sapien.render.RenderDirectionalLightComponent)
    ]
    wood = _table_material(env)
    texture, colour = wood.base_color_texture, wood.base_color
    try:
        if look.camera is not None:
            camera.set_local_pose(_moved(usual, look.camera))
        if look.ambient is not None:
            system.ambient_light = list(look.ambient)
        for component, own in lights:
            component.color = [a * b for a, b in zip(own, look.directional, strict=True)]
        if look.table is not None:
            wood.base_color_texture = None
            wood.base_color = [*look.table, 1.0]
        yield
    finally:
        camera.set_local_pose(usual)
        system.ambient_light = ambient
        for component, own in lights:
            component.color = own
        wood.base_color_texture, wood.base_color = texture, colour


def _table_material(env: Any) -> Any:
    """The material of the table's top."""
    (table,) = (e for e in env.scene.sub_scenes[0].entities if "table-workspace" in e.name)
    body = table.find_component_by_type(sapien.render.RenderBodyComponent)
    parts = [part for shape in body.render_shapes for part in shape.parts]
    return next(part.material for part in parts if part.material.base_color_texture is not None)


def _moved(usual: sapien.Pose, move: CameraMove) -> sapien.Pose:
    """A camera pose around the point of the usual view that is nearest to the table's middle."""
    forward = usual.to_transformation_matrix()[:3, 0]
    aim = usual.p + forward * max(float(-usual.p @ forward), NEAREST_AIM)
    arm = usual.p - aim
    around = np.arctan2(arm[1], arm[0]) + np.deg2rad(move.azimuth)
    height = np.arcsin(np.clip(arm[2] / np.linalg.norm(arm), -1.0, 1.0))
    if move.elevation:
        height = np.clip(height + np.deg2rad(move.elevation), *np.deg2rad(ELEVATIONS_DEG))
    outward = [np.cos(height) * np.cos(around), np.cos(height) * np.sin(around), np.sin(height)]
    eye = aim + float(np.linalg.norm(arm)) * move.distance * np.array(outward)
    return sapien_utils.look_at(eye + move.eye, aim + move.aim).sp
