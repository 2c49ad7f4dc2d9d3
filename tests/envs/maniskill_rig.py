"""Stub environments of ManiSkill's, rewarded by a scripted server without a connection."""

from __future__ import annotations

from typing import Any

import torch

from lrm_client.envs.maniskill import ManiSkillRewardEnv
from tests.client.direct import DirectClient
from tests.client.scripted import ScriptedCore
from tests.envs.maniskill_stub import StubBaseEnv, StubTimeLimit, shown

TASK = "put the cube on the plate"


def telling_core() -> ScriptedCore:
    """Its progress is a tenth of the step that the frame shows."""
    core = ScriptedCore()
    core.answer = lambda asked: shown(asked.frame).step / 10
    return core


def wrapped(core: ScriptedCore, count: int = 3, steps: int | None = 5, **options: Any) -> Any:
    env = StubTimeLimit(StubBaseEnv(count), steps)
    options = {"interval": 3, **options}
    return ManiSkillRewardEnv(env, DirectClient(core), TASK, ["progress"], **options)


def still(env: Any) -> torch.Tensor:
    """An action that does not succeed."""
    return -torch.ones(env.num_envs, 1)
