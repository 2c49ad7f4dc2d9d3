"""LeRobot finds the adapter, makes it from a config, saves it and loads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from lrm_client.client import RewardClient
from tests.client.scripted_grpc import serve_grpc
from tests.envs.lerobot_rig import (
    CAMERA,
    ServingCore,
    batch_of,
    images,
    needs_lerobot,
)
from tests.envs.lerobot_stub import ADAPTER, stand_in
from tests.project.layers import ROOT


@pytest.fixture(params=["stand-in", pytest.param("lerobot", marks=needs_lerobot)])
def adapter(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    if request.param == "lerobot":
        yield import_module(ADAPTER)
        return
    with stand_in() as module:
        yield module


def made(**options: Any) -> Any:
    """As LeRobot makes a model of a config."""
    rewards = import_module("lerobot.rewards")
    return rewards.make_reward_model(rewards.make_reward_model_config("lrm", **options))


def test_lerobots_factories_find_the_config_and_the_model(adapter: ModuleType) -> None:
    with serve_grpc(ServingCore()) as target:
        model = made(target=target)
        assert isinstance(model, adapter.LrmRewardModel)
        assert model.config.type == model.name == "lrm"
        assert model.compute_reward(batch_of(images(0, 255))).tolist() == [0.0, 1.0]
        model.close()
        assert model.compute_reward(batch_of(images(255))).tolist() == [1.0]
        model.close()


def test_a_saved_model_is_its_config(adapter: ModuleType, tmp_path: Path) -> None:
    model = made(head="contrastive", frames=2, stride=10, image_keys=[CAMERA], failure="mask")
    model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    loaded = adapter.LrmRewardModel.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    # Later versions of LeRobot note where a config came from.
    loaded.config.pretrained_path = None
    assert loaded.config == model.config
    assert not loaded.training
    again = adapter.LrmConfig(pretrained_path=str(tmp_path), head="completion")
    assert import_module("lerobot.rewards").make_reward_model(again).config.head == "completion"


def test_a_config_of_another_type_is_refused(adapter: ModuleType) -> None:
    class Other:
        pass

    with pytest.raises(TypeError, match="holds a Other, not an LrmConfig"):
        adapter.LrmRewardModel.from_pretrained("somewhere", config=Other())


def test_the_token_is_sent_and_is_not_in_what_is_saved(adapter: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-secret\n")
    core = ServingCore()
    with serve_grpc(core) as target:
        model = made(target=target, token_file=str(tmp_path / "token"))
        model.compute_reward(batch_of(images(1)))
        model.close()
    assert {call["authorization"] for call in core.metadata} == {"Bearer a-secret"}
    (tmp_path / "saved").mkdir()
    model.save_pretrained(tmp_path / "saved")
    saved = (tmp_path / "saved" / "config.json").read_text()
    assert json.loads(saved)["token_file"] == str(tmp_path / "token")
    assert "a-secret" not in saved + repr(model)


def test_a_client_that_was_given_stays_open(adapter: ModuleType) -> None:
    with serve_grpc(ServingCore()) as target, RewardClient(target) as client:
        model = adapter.LrmRewardModel(adapter.LrmConfig(target="nowhere:1"), client=client)
        assert model.compute_reward(batch_of(images(255))).tolist() == [1.0]
        model.close()
        assert client.models().version


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"failure": "hold"}, "raise or mask, not 'hold'"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"fps": 0.0}, "fps must be above 0"),
        ({"use": "best"}, "best"),
        ({"readout": "guess"}, "guess"),
        ({"encoding": "bmp"}, "raw, jpeg or png, not 'bmp'"),
        ({"quality": 0}, "quality must be 1 to 100"),
    ],
)
def test_a_config_that_cannot_be_is_refused(
    adapter: ModuleType, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        adapter.LrmConfig(**options)


def test_data_sets_are_told_which_frames_a_window_has(adapter: ModuleType) -> None:
    assert adapter.LrmConfig().observation_delta_indices is None
    window = adapter.LrmConfig(frames=3, stride=5)
    assert window.observation_delta_indices == [-10, -5, 0]
    assert window.action_delta_indices is window.reward_delta_indices is None


@needs_lerobot
def test_lerobots_command_line_makes_the_config() -> None:
    code = """
import sys
from dataclasses import dataclass
from lerobot.configs import parser
from lerobot.configs.rewards import RewardModelConfig

@dataclass
class Command:
    reward_model: RewardModelConfig | None = None

@parser.wrap()
def main(cfg: Command):
    print(cfg.reward_model.type, cfg.reward_model.head, cfg.reward_model.image_keys)

main()
"""
    arguments = [
        f"--reward_model.discover_packages_path={ADAPTER}",
        "--reward_model.type=lrm",
        "--reward_model.head=contrastive",
        f"--reward_model.image_keys=[{CAMERA}]",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT / "client",
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == f"lrm contrastive ['{CAMERA}']"


@needs_lerobot
def test_lerobots_pipelines_make_one_sample_a_batch_and_leave_its_images() -> None:
    adapter = import_module(ADAPTER)
    rewards = import_module("lerobot.rewards")
    config = adapter.LrmConfig()
    before, after = rewards.make_reward_pre_post_processors(config, dataset_stats={})
    shown = images(51)[0] / 255
    batch = before({CAMERA: shown, "task": "push the cube"})
    assert torch.equal(batch[CAMERA], shown[None])
    with serve_grpc(ServingCore()) as target:
        model = made(target=target)
        rewards = model.compute_reward(batch)
        model.close()
    assert after(rewards).tolist() == pytest.approx([0.2])
    assert not model.is_trainable


BARE = """
import sys
{before}
from lrm_client.envs.lerobot import LrmConfig, LrmRewardModel
for make in (LrmConfig, lambda: LrmRewardModel(None), lambda: LrmRewardModel.from_pretrained("x")):
    try:
        make()
    except ImportError as error:
        print(error)
"""


@pytest.mark.parametrize(
    "before",
    [
        'sys.modules["lerobot"] = sys.modules["torch"] = None',
        # As an older LeRobot is, which has no reward models of this interface.
        'import types; sys.modules["lerobot"] = types.ModuleType("lerobot")',
    ],
)
def test_the_module_is_importable_without_lerobot_and_says_what_to_install(before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE.format(before=before)],
        cwd=ROOT / "client",
        capture_output=True,
        check=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("pip install 'lerobot>=0.6'" in line for line in lines), lines
