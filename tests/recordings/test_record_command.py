"""``lrm record``, from the command line to the data set."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.pixels import as_pixels
from tests.recordings.command import POLICIES, TASK, run
from tests.recordings.corridor import Corridor


def test_folders(tmp_path: Path, made: list[Corridor]) -> None:
    result = run(
        "Corridor-v0",
        tmp_path / "set",
        *TASK,
        "--episodes",
        3,
        "--seed",
        1,
        "--policy",
        f"{POLICIES}:walk",
    )
    assert result.exit_code == 0, result.output
    assert "3 episodes, 3 succeeded" in result.stderr
    found = open_data_set(tmp_path / "set")
    assert found.layout == "folders"
    assert [one.id for one in found] == [f"Corridor-v0_{seed}" for seed in (1, 2, 3)]
    assert [one.length for one in found] == [5, 4, 6]
    for one in found:
        assert (one.task, one.group) == ("Walk to the end.", "Corridor-v0")
        assert (one.kind, one.fps) == (f"{POLICIES}:walk", 10.0)


@pytest.mark.parametrize("layout", ["lerobot", "lerobot-images"])
def test_lerobots_layouts(tmp_path: Path, made: list[Corridor], layout: str) -> None:
    result = run(
        "Corridor-v0",
        tmp_path / "set",
        *TASK,
        "--episodes",
        2,
        "--layout",
        layout,
        "--policy",
        f"{POLICIES}:walk",
    )
    assert result.exit_code == 0, result.output
    found = open_data_set(tmp_path / "set")
    assert found.layout == "lerobot v3.0"
    assert (tmp_path / "set/videos").exists() is (layout == "lerobot")
    levels = [as_pixels(frame).mean() for frame in found[0].frames]
    assert levels == pytest.approx([31 * step for step in range(7)], abs=2)
    assert found[1].columns["action"].shape == (6,)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_random_policy_repeats_with_its_seed(tmp_path: Path, made: list[Corridor]) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert (
            run("Corridor-v0", tmp_path / name, *TASK, "--episodes", 1, "--seed", seed).exit_code
            == 0
        )
    actions = {name: open_data_set(tmp_path / name)[0].columns["action"].tolist() for name in "abc"}
    assert actions["a"] == actions["b"] != actions["c"]


def test_every_camera_and_limit(tmp_path: Path, made: list[Corridor]) -> None:
    result = run(
        "Corridor-v0",
        tmp_path / "set",
        *TASK,
        "--episodes",
        1,
        "--every",
        2,
        "--max-steps",
        3,
        "--camera",
        "observation/sensor/eye/rgb",
        "--policy",
        f"{POLICIES}:stay",
    )
    assert result.exit_code == 0, result.output
    (one,) = open_data_set(tmp_path / "set")
    assert one.steps.tolist() == [0, 2, 3]
    assert [as_pixels(frame).mean() for frame in one.frames] == [255, 253, 252]


def test_options_of_the_environment(tmp_path: Path, made: list[Corridor]) -> None:
    result = run(
        "Corridor-v0",
        tmp_path / "set",
        *TASK,
        "--episodes",
        1,
        "--env-option",
        "tensors=true",
        "--env-option",
        "says=is_success",
        "--policy",
        f"{POLICIES}:walk",
    )
    assert result.exit_code == 0, result.output
    assert open_data_set(tmp_path / "set")[0].success is True
    result = run("Corridor-v0", tmp_path / "none", *TASK, "--episodes", 1, "--env-option", "says=")
    assert "did not say" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("Nothing-v0",), "Nothing-v0 is not registered"),
        (("Corridor-v0", "--policy", "walk"), "module:function"),
        (("Corridor-v0", "--policy", "no_such_module:walk"), "no_such_module"),
        (("Corridor-v0", "--policy", f"{POLICIES}:run"), "no function 'run'"),
        (("Corridor-v0", "--policy", f"{POLICIES}:gives_nothing"), "NoneType"),
        (("Corridor-v0", "--import", "no_such_module"), "no_such_module"),
        (("Corridor-v0", "--env-option", "tensors"), "NAME=VALUE"),
        (("Corridor-v0", "--env-option", "tensor=true"), "tensor"),
        (("Corridor-v0", "--camera", "front"), "camera"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, made: list[Corridor], arguments: tuple[str, ...], named: str
) -> None:
    name, *options = arguments
    result = run(name, tmp_path / "set", *TASK, *options)
    assert result.exit_code == 2
    assert named in result.stderr
    assert "Traceback" not in result.output


def test_nothing_is_written_over(tmp_path: Path, made: list[Corridor]) -> None:
    (tmp_path / "kept").write_text("mine")
    result = run("Corridor-v0", tmp_path, *TASK)
    assert result.exit_code == 2
    assert "exists" in result.stderr


@pytest.mark.parametrize("layout", ["folders", "lerobot"])
def test_an_interrupt_keeps_what_is_recorded(
    tmp_path: Path, made: list[Corridor], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = Corridor.reset

    def interrupted(self: Corridor, *, seed: int | None = None, options: object = None) -> object:
        if seed == 2:
            raise KeyboardInterrupt
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(Corridor, "reset", interrupted)
    result = run("Corridor-v0", tmp_path / "set", *TASK, "--layout", layout)
    assert result.exit_code == 130
    assert len(open_data_set(tmp_path / "set")) == 2


def test_actions_keep_their_type_in_lerobots_layout(tmp_path: Path, made: list[Corridor]) -> None:
    policy = ("--policy", f"{POLICIES}:walk")
    result = run("Corridor-v0", tmp_path / "set", *TASK, *policy, "--layout", "lerobot-images")
    assert result.exit_code == 0, result.output
    assert open_data_set(tmp_path / "set")[0].columns["action"].dtype == np.float32


def test_without_gymnasium_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("Corridor-v0", tmp_path / "set", *TASK)
    assert result.exit_code == 2
    assert "pip install gymnasium" in result.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.skipif(
    importlib.util.find_spec("gymnasium") is None, reason="gymnasium is not installed"
)
def test_a_real_environment(tmp_path: Path) -> None:
    import gymnasium

    class Lamp(gymnasium.Env[np.ndarray, int]):
        """Lit by the action 1."""

        metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 5}

        def __init__(self, render_mode: str | None = None) -> None:
            self.render_mode = render_mode
            self.action_space = gymnasium.spaces.Discrete(2)
            self.observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.lit = 0
            return self.render(), {}

        def step(self, action):
            self.lit = int(action)
            return (
                self.render(),
                float(self.lit),
                self.lit == 1,
                False,
                {"is_success": self.lit == 1},
            )

        def render(self):
            return np.full((16, 16, 3), 200 * self.lit, np.uint8)

    gymnasium.register("Lamp-v0", Lamp, max_episode_steps=3)
    for camera in ("render", "observation"):
        result = run("Lamp-v0", tmp_path / camera, "--task", "Light it.", "--camera", camera)
        assert result.exit_code == 0, result.output
        found = open_data_set(tmp_path / camera)
        assert len(found) == 10
        assert {one.success for one in found} <= {True, False}
        for one in found:
            assert one.fps == 5
            assert one.length <= 3
            assert as_pixels(one.frames[-1]).mean() == 200 * bool(one.success)
