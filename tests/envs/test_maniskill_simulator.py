"""A real ManiSkill environment, against a scripted server and against the real one."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest

from tests.client.scripted import Asked, ScriptedCore
from tests.client.scripted_grpc import serve_grpc
from tests.conftest import LiveServer
from tests.envs.simulator import in_simulator, needs_renderer, needs_simulator

pytestmark = [needs_simulator, needs_renderer]

STEPS = [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]
# Interval 3, aligned: the first episode's 3, 6 and its end, and the ninth step of the whole.
RENDERED = [[0, 0], [0, 3], [0, 6], [0, 7], [1, 0], [1, 2]]


def of_content(asked: Asked) -> float:
    """A value that no other frame has."""
    return crc32(asked.frame) / 2**32


def rewards_of(told: dict[str, Any], head: str) -> list[float]:
    """The rewards that follow from what the head says of the frames, without an episode."""
    values = {(episode, step): value for episode, step, value in told["stateless"][head]}
    first = [*[0.0] * 2, *[values[0, 3]] * 3, values[0, 6], values[0, 7]]
    return [*first, 0.0, *[values[1, 2]] * 2]


def check(told: dict[str, Any], tolerance: float) -> None:
    assert told["rendered"] == RENDERED
    assert told["steps"] == STEPS
    assert told["valid"] == [True] * len(STEPS)
    assert told["rewards"] == pytest.approx(rewards_of(told, "progress"), abs=tolerance)
    if told["compared"]:
        compared = rewards_of(told, "contrastive")
        assert told["compared"] == pytest.approx(compared, abs=tolerance)
    # The simulator's success ends no episode; its horizon does.
    assert told["success"][3:7] == [True] * 4
    assert told["ended"] == [[False, step == 7] for step in range(1, 11)]
    assert told["shows_the_reset"]
    assert told["change"] > 20


def test_a_rollout_is_paid_for_the_frames_that_are_due() -> None:
    core = ScriptedCore()
    core.answer = of_content
    with serve_grpc(core) as target:
        told = in_simulator("rollout", target)
    check(told["now"], 1e-6)
    check(told["deferred"], 1e-6)
    assert told["sensor"] == {"shape": [1, 128, 128, 3], "same": True}
    assert core.episodes == {}


def test_a_rollout_is_paid_by_the_embedded_checkpoint(live_server: LiveServer) -> None:
    told = in_simulator("rollout", live_server.grpc)
    check(told["now"], 0.02)
    check(told["deferred"], 0.02)
