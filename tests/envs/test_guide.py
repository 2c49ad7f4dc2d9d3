"""What the guide shows runs, and what its table says is so."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from lrm_client.envs.maniskill import ManiSkillRewardEnv
from lrm_client.envs.single import RewardEnv
from lrm_client.envs.vector import RewardVectorEnv
from lrm_client.types import EpisodeSpec
from lrm_client.vector_base import VectorBase
from tests.client.scripted import ScriptedCore
from tests.client.scripted_grpc import serve_grpc
from tests.envs.counting import Counting
from tests.project.layers import ROOT
from tests.project.readme import at

TEXT = (ROOT / "client" / "guides" / "your_environment.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
OPTIONS = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", TEXT, re.MULTILINE)


@pytest.fixture
def _registered() -> Iterator[None]:
    gym.register("YourRobot-v0", lambda **options: Counting(lengths=(3,), terminates=True))
    yield
    del gym.registry["YourRobot-v0"]


def policy(observations: Any) -> Any:
    steps = np.asarray(observations["step"])
    return np.zeros(steps.shape, np.int64) if steps.ndim else 0


@pytest.mark.usefixtures("_registered")
def test_the_blocks_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    core = ScriptedCore()
    given: dict[str, Any] = {"policy": policy}
    asked = []
    with serve_grpc(core) as target:
        for block in BLOCKS:
            code = compile(at(block, target, target), "your_environment.md", "exec")
            if "mani_skill" not in block:
                exec(code, given)  # noqa: S102
                asked.append(len(core.asked))
                assert not core.episodes, "the block leaves no episode open"
        given["client"].close()
    # Steps 10, 20 ... 100; calls 10, 20 ... 200 of eight, the 101st being their reset.
    assert np.diff([0, *asked]).tolist() == [10, 8 * 20, 8 * 10]
    assert capsys.readouterr().out == "0.5 queried\n(100, 8) 1.0\n"


def test_the_options_are_those_of_the_adapters() -> None:
    assert len(OPTIONS) == 8
    sources = (VectorBase.__init__, EpisodeSpec)
    shared = {
        name: parameter.default
        for source in sources
        for name, parameter in inspect.signature(source).parameters.items()
    }
    for adapter in (RewardEnv, RewardVectorEnv, ManiSkillRewardEnv):
        own = inspect.signature(adapter.__init__).parameters
        for name, told in OPTIONS:
            default = own[name].default if name in own else shared[name]
            assert default == eval(told), (adapter, name)  # noqa: S307
