"""A reward model of LeRobot's on a scripted server."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import ScriptedCore

CAMERA = "observation.images.front"
HEADS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "progress": (["current"], ["initial", "goal"]),
    "completion": (["current"], []),
    "contrastive": (["previous", "current"], ["initial"]),
    "roboreward": ([], []),
}
"""The frames that each head needs, and those that it may be shown."""


def _missing() -> str:
    """What LeRobot's tests miss here; empty where they run."""
    if importlib.util.find_spec("lerobot") is None:
        return "lerobot is not installed: 0.6 needs Python 3.12 and an older torch than vLLM's"
    if importlib.util.find_spec("lerobot.rewards") is None:
        return "the lerobot that is installed has no lerobot.rewards: it is older than 0.6"
    return ""


needs_lerobot = pytest.mark.skipif(bool(_missing()), reason=_missing())


class ServingCore(ScriptedCore):
    """Serves ``HEADS``; each query's value is the red of its newest frame, over 255."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = lambda asked: asked.frame[0] / 255

    def _ListModels(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:  # noqa: N802
        heads = [
            pb.Head(name=name, required_frames=needed, optional_frames=allowed, neutral=0.25)
            for name, (needed, allowed) in HEADS.items()
        ]
        return pb.ListModelsResponse(models=[pb.Model(id="m", heads=heads)], version="0.1.0")


def images(*levels: int, height: int = 4, width: int = 6) -> torch.Tensor:
    """Grey uint8 (B, 3, H, W)."""
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, height, width)


def windows(*samples: Sequence[int], height: int = 4, width: int = 6) -> torch.Tensor:
    """Grey uint8 (B, T, 3, H, W)."""
    return torch.stack([images(*sample, height=height, width=width) for sample in samples])


def batch_of(pixels: Any, task: Any = "push the cube", **more: Any) -> dict[str, Any]:
    return {CAMERA: pixels, "task": task, "observation.state": torch.zeros(len(pixels), 2), **more}
