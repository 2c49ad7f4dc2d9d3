"""LeRobot's interface on a real server: bundled rollouts as a batch."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import LiveServer
from tests.envs.lerobot_rig import CAMERA
from tests.envs.lerobot_stub import stand_in
from tests.rollout_frames import episodes
from training.frame_folders import EpisodeFolder


def frame(rollout: EpisodeFolder, step: int) -> torch.Tensor:
    """float32 (3, H, W) in [0, 1], as LeRobot's data sets give it."""
    image = Image.open(io.BytesIO(rollout.jpeg(step))).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_successes_end_with_more_progress_than_they_began_with(
    live_server: LiveServer, protocol: str
) -> None:
    rollouts = [e for e in episodes() if e.env_id == "PushCube-v1" and e.success][:2]
    batch = {
        CAMERA: torch.stack([frame(e, step) for step in (0, -1) for e in rollouts]),
        "task": [e.task for _ in range(2) for e in rollouts],
    }
    target = live_server.grpc if protocol == "grpc" else live_server.http
    with stand_in() as adapter:
        model = adapter.LrmRewardModel(adapter.LrmConfig(target=target))
        began, ended = model.compute_reward(batch).reshape(2, -1)
        assert (ended > began).all()
        assert model.valid.all()
        assert {reply.model for reply in model.replies} == {model.replies[0].model}
        pairs = torch.stack([batch[CAMERA][: len(rollouts)], batch[CAMERA][len(rollouts) :]], 1)
        compared = adapter.LrmRewardModel(adapter.LrmConfig(target=target, head="contrastive"))
        closer = compared.compute_reward({CAMERA: pairs, "task": [e.task for e in rollouts]})
        assert closer.tolist() == [1.0] * len(rollouts)
        model.close()
        compared.close()
