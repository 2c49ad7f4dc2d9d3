"""A trace that was computed by hand, on stub environments in this process and in ManiSkill's."""

from __future__ import annotations

import pytest

from lrm_client.envs.maniskill import SOURCE_CODES
from tests.client.direct import DirectClient
from tests.client.scripted_grpc import serve_grpc
from tests.envs.maniskill_rig import telling_core
from tests.envs.maniskill_stub import StubAutoreset
from tests.envs.maniskill_trace import trace
from tests.envs.simulator import in_simulator, needs_simulator

STEPS = [
    [1, 1, 1],
    [2, 2, 2],
    [3, 1, 3],
    [4, 2, 4],
    [5, 3, 5],
    [1, 4, 1],
    [2, 5, 2],
    [3, 1, 3],
]
REWARDS = [
    [0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0],
    [0.3, 0.1, 0.3],
    [0.3, 0.1, 0.3],
    [0.5, 0.1, 0.5],
    [0.1, 0.4, 0.1],
    [0.1, 0.5, 0.1],
    [0.1, 0.0, 0.1],
]
AGES = [
    [-1, -1, -1],
    [-1, -1, -1],
    [0, 0, 0],
    [1, 1, 1],
    [0, 2, 0],
    [0, 0, 0],
    [1, 0, 1],
    [2, -1, 2],
]
SOURCES = [
    ["neutral", "neutral", "neutral"],
    ["neutral", "neutral", "neutral"],
    ["queried", "queried", "queried"],
    ["held", "held", "held"],
    ["queried", "held", "queried"],
    ["queried", "queried", "queried"],
    ["held", "queried", "held"],
    ["held", "neutral", "held"],
]


@pytest.mark.parametrize(
    "around", ["stand-in", pytest.param("ManiSkillVectorEnv", marks=needs_simulator)]
)
def test_a_worked_trace_of_environments_that_are_reset_at_different_steps(
    around: str,
) -> None:
    core = telling_core()
    if around == "stand-in":
        made = trace(StubAutoreset, DirectClient(core))
    else:
        with serve_grpc(core) as target:
            made = in_simulator("trace", target)
    assert made["steps"] == STEPS
    assert made["rewards"] == [pytest.approx(row) for row in REWARDS]
    names = {code: word for word, code in SOURCE_CODES.items()}
    assert [[names[code] for code in row] for row in made["sources"]] == SOURCES
    assert made["ages"] == AGES
    assert made["truncated"] == [
        *[[False] * 3] * 4,
        [True, False, True],
        [False] * 3,
        [False, True, False],
        [False] * 3,
    ]
    assert made["terminated"] == [[False] * 3] * 8
    # At the steps that are due, and once more where episodes begin.
    assert made["renderings"] == [0, 0, 1, 0, 2, 1, 2, 0]
