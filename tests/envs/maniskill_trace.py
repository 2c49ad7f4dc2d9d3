"""Eight steps of three stub environments, of which one is reset by hand after the second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lrm_client.envs.maniskill import ManiSkillRewardEnv
from tests.envs.maniskill_stub import StubBaseEnv, StubTimeLimit

TASK = "put the cube on the plate"
INTERVAL, HORIZON = 3, 5


def trace(autoreset: Callable[[Any], Any], client: Any) -> dict[str, list[Any]]:
    """What the steps gave, as plain lists.

    Args:
        autoreset: ``ManiSkillVectorEnv``, or what stands in for it.
        client: of a server whose progress is told by the frames.
    """
    base = StubBaseEnv(3)
    env = StubTimeLimit(base, HORIZON)
    envs = autoreset(ManiSkillRewardEnv(env, client, TASK, ["progress"], interval=INTERVAL))
    envs.reset(seed=0)
    names = ("steps", "rewards", "sources", "ages", "truncated", "terminated", "renderings")
    made: dict[str, list[Any]] = {name: [] for name in names}
    for step in range(1, 9):
        base.rendered.clear()
        # Every action succeeds.
        _, rewards, terminated, truncated, infos = envs.step(torch.ones(3, 1))
        told = infos.get("final_info", infos)["lrm"]
        head = told["heads"]["progress"]
        made["steps"].append(told["step"].tolist())
        made["rewards"].append(rewards.tolist())
        made["sources"].append(head["source"].tolist())
        made["ages"].append(head["age"].tolist())
        made["truncated"].append(truncated.tolist())
        made["terminated"].append(terminated.tolist())
        made["renderings"].append(len(base.rendered))
        if step == 2:
            envs.reset(options={"env_idx": torch.tensor([1])})
    return made
