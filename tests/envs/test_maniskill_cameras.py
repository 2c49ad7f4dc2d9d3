"""Which camera's frames ManiSkill's environments send, and how they reach the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lrm_client
from lrm_client import InvalidRequest
from lrm_client.envs.maniskill import ManiSkillRewardEnv
from tests.client.direct import DirectClient
from tests.client.scripted import ScriptedCore
from tests.envs.maniskill_stub import HEIGHT, WIDTH, StubBaseEnv, StubTimeLimit, shown

TASK = "put the cube on the plate"
N = 3


@pytest.fixture
def core() -> ScriptedCore:
    return ScriptedCore()


def wrapped(core: ScriptedCore, base: StubBaseEnv | None = None, **options: Any) -> Any:
    env = StubTimeLimit(base or StubBaseEnv(N), 20)
    options = {"interval": 2, **options}
    return ManiSkillRewardEnv(env, DirectClient(core), TASK, ["progress"], **options)


def stepped(env: Any, steps: int = 4) -> Any:
    env.reset()
    for _ in range(steps):
        env.step(-torch.ones(N, 1))
    return env


def asked(core: ScriptedCore) -> list[tuple[int, int, bool]]:
    """What the queried frames showed: environment, step, whether markers were visible."""
    frames = [shown(asked.frame) for asked in core.asked]
    return [(frame.environment, frame.step, frame.marker) for frame in frames]


def both(marker: bool) -> list[tuple[int, int, bool]]:
    return [(at, step, marker) for step in (2, 4) for at in range(N)]


def test_the_only_camera_for_people_needs_no_name(core: ScriptedCore) -> None:
    env = stepped(wrapped(core))
    assert env.unwrapped.rendered == [None] * 3
    assert asked(core) == both(marker=True)


def test_one_of_several_cameras_for_people_is_named(core: ScriptedCore) -> None:
    env = stepped(wrapped(core, StubBaseEnv(N, cameras=2), camera="render/side_camera"))
    assert env.unwrapped.rendered == ["side_camera"] * 3


def test_a_sensor_is_rendered_alone_and_without_markers(core: ScriptedCore) -> None:
    env = stepped(wrapped(core, camera="sensor/hand_camera"))
    base = env.unwrapped
    captures = {name: sensor.captures for name, sensor in base.scene.sensors.items()}
    assert captures == {"base_camera": 0, "hand_camera": 3}
    assert base.rendered == []
    assert asked(core) == both(marker=False)


def test_pixels_of_the_observation_are_not_rendered_again(core: ScriptedCore) -> None:
    env = stepped(wrapped(core, camera="observation/sensor_data/eye"))
    assert env.unwrapped.rendered == []
    assert asked(core) == both(marker=True)


def test_a_function_is_asked_for_those_that_are_due(core: ScriptedCore) -> None:
    wanted: list[list[int]] = []

    def camera(due: np.ndarray) -> np.ndarray:
        wanted.append(due.tolist())
        return np.zeros((len(due), 2, 2, 3), np.uint8)

    env = wrapped(core, camera=camera, phase="episode")
    env.reset()
    env.step(-torch.ones(N, 1))
    env.reset(options={"env_idx": torch.tensor([0, 2])})
    for _ in range(2):
        env.step(-torch.ones(N, 1))
    assert wanted == [[0, 1, 2], [0, 2], [1], [0, 2]]


@pytest.mark.parametrize(
    ("camera", "cameras", "told"),
    [
        ("render", 2, "must name a camera; .* render/render_camera, render/side_camera"),
        ("render", 0, "no camera for render"),
        ("render/top_camera", 1, "the environment has render/render_camera$"),
        ("sensor", 1, "sensor/base_camera, sensor/hand_camera"),
        ("sensor/eye", 1, "sensor/base_camera, sensor/hand_camera"),
        ("observation/sensor_data/ear", 1, "observation/sensor_data has no 'ear'; it has eye"),
        ("observation/state", 1, "must be uint8"),
        ("window", 1, "camera must be render"),
    ],
)
def test_a_camera_that_is_not_there_is_refused(
    core: ScriptedCore, camera: str, cameras: int, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        wrapped(core, StubBaseEnv(N, cameras=cameras), camera=camera)


def test_an_environment_that_renders_nothing_is_refused(core: ScriptedCore) -> None:
    with pytest.raises(ValueError, match="render_backend"):
        wrapped(core, StubBaseEnv(N, renders=False))
    stepped(wrapped(core, StubBaseEnv(N, renders=False), camera="observation/sensor_data/eye"))


def test_a_camera_that_shows_all_in_one_image_is_refused(core: ScriptedCore) -> None:
    env = wrapped(core)
    env.unwrapped.render_rgb_array = lambda: torch.zeros(1, 4, 5, 3, dtype=torch.uint8)
    with pytest.raises(InvalidRequest, match=r"\(3, H, W, 3\), not \(1, 4, 5, 3\)"):
        env.reset()


def test_the_frames_that_are_due_are_moved_in_one_piece(
    core: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[tuple[int, ...], bool]] = []
    move = torch.Tensor.cpu

    def recorded(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim > 1:
            moved.append((tuple(tensor.shape), tensor.is_contiguous()))
        return move(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", recorded)
    env = wrapped(core, phase="episode")
    env.reset()
    env.step(-torch.ones(N, 1))
    env.reset(options={"env_idx": torch.tensor([1])})
    env.step(-torch.ones(N, 1))
    assert moved == [((count, HEIGHT, WIDTH, 3), True) for count in (N, 1, 2)]


BARE = """
import sys
sys.modules["gymnasium"] = sys.modules["torch"] = sys.modules["mani_skill"] = None
from lrm_client.envs.maniskill import ManiSkillRewardEnv
try:
    ManiSkillRewardEnv(None, None, "a task", ["progress"])
except ImportError as error:
    print(error)
"""


def test_the_module_is_importable_without_a_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        cwd=Path(lrm_client.__file__).parents[1],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "ManiSkillRewardEnv needs gymnasium: pip install mani_skill brings it\n"
