"""Which arguments of the adapters are refused or warned of, and where they can be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lrm_client.envs.single import RewardEnv
from lrm_client.envs.vector import RewardVectorEnv
from tests.envs.counting import TASK, Counting, client_of, counting_core

Make = Callable[..., Any]


def single(heads: tuple[str, ...] = ("progress",), mode: Any = "rgb_array", **options: Any) -> Any:
    horizon = {} if options.get("terminations") == "keep" else {"horizon": 4}
    env = Counting(render_mode=mode)
    return RewardEnv(env, client_of(counting_core()), TASK, heads, **{**horizon, **options})


def vector(heads: tuple[str, ...] = ("progress",), mode: Any = "rgb_array", **options: Any) -> Any:
    env = SyncVectorEnv([partial(Counting, at, render_mode=mode) for at in range(2)])
    return RewardVectorEnv(env, client_of(counting_core()), TASK, heads, **options)


both = pytest.mark.parametrize("make", [single, vector])


@both
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera": "wrist"}, "camera must be render, observation"),
        ({"camera": "render/wrist"}, "camera must be render, observation"),
        ({"camera": "observation/wrist"}, "observation has no 'wrist'; it has camera, depth, step"),
        ({"camera": "observation/camera/rgb"}, "observation/camera has no 'rgb'; it has no keys"),
        ({"camera": "observation/step"}, r"observation/step must be uint8 \(H, W, 3\)"),
        ({"camera": "observation/depth"}, r"observation/depth must be uint8 \(H, W, 3\)"),
        ({"camera": "observation"}, r"observation must be uint8 \(H, W, 3\)"),
        ({"mode": None}, "render_mode='rgb_array', not None"),
        ({"weight": 1.5}, "weight must be within 0 and 1"),
        ({"terminations": "drop"}, "terminations must be ignore or keep"),
        ({"failure": "zero"}, "failure must be"),
        ({"interval": 0}, "interval must be at least 1"),
        ({"head": "completion"}, "head must be one of"),
    ],
)
def test_an_argument_that_is_wrong_is_refused(
    make: Make, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make(**options)


@pytest.mark.parametrize("camera", ["render", lambda indices: None])
def test_a_camera_that_comes_after_the_reset_is_refused(camera: Any) -> None:
    env = SyncVectorEnv([Counting], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match=r"observation.*or another autoreset_mode"):
        RewardVectorEnv(env, client_of(counting_core()), TASK, ["progress"], camera=camera)


def test_environments_that_do_not_say_how_they_reset_are_refused() -> None:
    env = SyncVectorEnv([Counting])
    del env.metadata["autoreset_mode"]
    with pytest.raises(ValueError, match=r"metadata\['autoreset_mode'\]"):
        RewardVectorEnv(env, client_of(counting_core()), TASK, ["progress"])


@both
@pytest.mark.parametrize(
    ("heads", "options", "warned"),
    [
        (("progress",), {"terminations": "keep"}, True),
        (("tri",), {"terminations": "keep", "hold": "spread"}, True),
        (("contrastive", "progress"), {"terminations": "keep", "head": "progress"}, True),
        (("progress",), {"terminations": "keep", "hold": "difference"}, False),
        (("contrastive",), {"terminations": "keep"}, False),
        (("progress",), {}, False),
    ],
)
def test_a_reward_that_punishes_finishing_early_is_warned_of(
    make: Make,
    heads: tuple[str, ...],
    options: dict[str, Any],
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make(heads, **options)
    assert len(caplog.records) == warned
    assert ("hold='difference'" in caplog.text) == warned


def test_the_adapters_are_importable_without_gymnasium() -> None:
    code = """
import sys
sys.modules["gymnasium"] = None
from lrm_client.envs.single import FixedHorizon, RewardEnv
from lrm_client.envs.vector import RewardVectorEnv
for make in (
    lambda: FixedHorizon(None, 3),
    lambda: RewardEnv(None, None, "count", ["progress"]),
    lambda: RewardEnv(None, None, "count", ["progress"], horizon=3),
    lambda: RewardVectorEnv(None, None, "count", ["progress"]),
):
    try:
        make()
    except ImportError as error:
        assert "pip install 'gymnasium>=1.1'" in str(error), error
    else:
        raise AssertionError(make)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
