"""LeRobot's interface on a server of the built-in profiles: which frames each head is shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch

from lrm_server.engine.protocol import FrameSlot, Question, VideoSlot
from tests.api.compat.service import CompatEngine, running
from tests.envs.lerobot_rig import CAMERA, batch_of, windows
from tests.envs.lerobot_stub import stand_in

WRIST = "observation.images.wrist"


def frames_of(question: Question) -> list[int]:
    """The red of each frame that the engine was shown, in order."""
    shown = []
    for part in question.parts:
        if isinstance(part, FrameSlot):
            shown.append(part.frame)
        elif isinstance(part, VideoSlot):
            shown.extend(part.frames)
    return [int(frame.pixels()[0, 0, 0]) for frame in shown]


@pytest.mark.parametrize(
    ("head", "options", "judged", "shown", "reward"),
    [
        ("progress", {}, [0] * 7 + [1] + [0] * 3, [30], 0.7),
        ("completion", {}, [0, 1], [30], 1.0),
        ("contrastive", {}, [0.9, 0.1], [10, 30], -1.0),
        ("roboreward", {"fps": 2.0}, [0, 0, 0, 1, 0], [10, 20, 30], 0.75),
        ("rlinf_trend", {"image_keys": [CAMERA, WRIST]}, [0.9, 0, 0.1],
         [10, 20, 30, 11, 21, 31], -0.2),
    ],
)  # fmt: skip
async def test_each_head_is_shown_what_it_looks_at(
    head: str, options: dict[str, Any], judged: list[float], shown: list[int], reward: float
) -> None:
    engine = CompatEngine()
    engine.judge = lambda _: judged
    size = {"height": 32, "width": 48}
    batch = batch_of(windows([10, 20, 30], **size), **{WRIST: windows([11, 21, 31], **size)})
    async with running(engine, heads=[head]) as http:
        with stand_in() as adapter:
            config = adapter.LrmConfig(
                target=str(http.base_url), head=head, **{"image_keys": [CAMERA], **options}
            )
            model = adapter.LrmRewardModel(config)
            rewards: torch.Tensor = await asyncio.to_thread(model.compute_reward, batch)
            model.close()
    assert rewards.tolist() == pytest.approx([reward])
    ((_, question),) = engine.asked
    assert frames_of(question) == shown
