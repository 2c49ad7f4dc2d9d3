"""The subtasks of a task, looked at over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from lrm_client import EpisodeSpec, EpisodeStep, Query
from lrm_client.subtasks import Subtask as SentSubtask
from lrm_server.errors import DomainError
from lrm_server.heads.decomposer import Decomposition
from lrm_server.heads.subtasks import Subtask, not_decomposed
from tests.api.conftest import Served
from tests.api.frames import pixels
from tests.scripted_scorer import ScriptedScorer

TASK = "stack the red cube on the green cube"
PLAN = (Subtask("grasp the red cube", "it is held"), Subtask("put it down", "it lies on green"))


class Planning(ScriptedScorer):
    """Gives one plan, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: DomainError | None = None
        self.asked: list[tuple[str, str, str]] = []

    async def decompose(
        self, head: str, task: str, scene: str = "", deadline: float | None = None
    ) -> Decomposition:
        assert deadline is not None
        self.asked.append((head, task, scene))
        if self.failing is not None:
            raise self.failing
        return Decomposition(PLAN, "0123", "planner")


@pytest.fixture
def scorer() -> Planning:
    return Planning()


async def decompose(served: Served, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await (await served.http()).post("/v1/tasks/decompose", json=body)
    return answer.status_code, answer.json()


async def test_the_subtasks_of_a_task_can_be_looked_at(served: Served, scorer: Planning) -> None:
    status, body = await decompose(served, task=TASK, scene="two cubes")
    assert status == 200
    assert body == {
        "subtasks": [
            {"subtask": "grasp the red cube", "done_when": "it is held"},
            {"subtask": "put it down", "done_when": "it lies on green"},
        ],
        "profile": "0123",
        "model": "planner",
    }
    assert scorer.asked == [("subtasks", TASK, "two cubes")]


async def test_a_task_that_cannot_be_decomposed_is_a_problem(
    served: Served, scorer: Planning
) -> None:
    scorer.failing = not_decomposed("it is a poem.")
    status, body = await decompose(served, task=TASK)
    assert (status, body["code"], body["field"]) == (502, "task_not_decomposed", "task")
    assert "poem" in body["detail"]


async def test_what_is_no_task_is_refused(served: Served, scorer: Planning) -> None:
    for body in ({}, {"task": 3}, {"task": TASK, "frames": []}):
        status, problem = await decompose(served, **body)
        assert (status, problem["code"]) == (400, "invalid_argument")
    assert scorer.asked == []


async def test_nothing_is_decomposed_while_the_engine_is_loading(serve: Any) -> None:
    status, body = await decompose(await serve(attach=False), task=TASK)
    assert (status, body["code"]) == (503, "unavailable")


SENT = tuple(SentSubtask(each.subtask, each.done_when) for each in PLAN)


async def test_a_query_brings_its_scene_and_its_subtasks(
    served: Served, scorer: Planning, transport: str
) -> None:
    client = await served.client(transport)
    await client.score(Query("progress", TASK, pixels(), scene="two cubes", subtasks=SENT))
    await client.score(Query("progress", TASK, pixels()))
    assert [(query.scene, query.subtasks) for query in scorer.queries] == [
        ("two cubes", PLAN),
        ("", ()),
    ]


async def test_an_episode_brings_its_scene_and_its_subtasks(
    served: Served, scorer: Planning, transport: str
) -> None:
    client = await served.client(transport)
    spec = EpisodeSpec(TASK, ["progress"], interval=1, scene="two cubes", subtasks=SENT)
    (episode,) = await client.open_episodes([spec])
    steps = [EpisodeStep(episode.id, step, pixels()) for step in range(2)]  # type: ignore[union-attr]
    await client.step_episodes(steps)
    assert [(query.scene, query.subtasks) for query in scorer.queries] == [("two cubes", PLAN)]


async def test_a_trajectory_brings_its_scene_and_its_subtasks(
    served: Served, scorer: Planning, transport: str
) -> None:
    client = await served.client(transport)
    await client.score_trajectory([pixels()], TASK, ["progress"], scene="two cubes", subtasks=SENT)
    assert [(query.scene, query.subtasks) for query in scorer.queries] == [("two cubes", PLAN)]
