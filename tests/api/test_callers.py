"""Who asks and how urgently, as requests say it on both transports."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from lrm_client import AsyncRewardClient, EpisodeSpec, EpisodeStep, Query
from lrm_client.connection import CLIENT_KEY, PRIORITY_KEY
from lrm_client.errors import Overloaded
from lrm_client.wire import reward_pb2 as pb
from lrm_server.callers import Caller, Priority, current_caller
from lrm_server.engine.protocol import EngineStatus
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads import query as server_query
from tests.api.conftest import Served
from tests.api.frames import pixels
from tests.api.wire import FRAME, TASK, problem_of
from tests.scripted_scorer import ScriptedScorer

ROBOT, LEARNER = Priority.INTERACTIVE, Priority.BATCH
ADDRESS = "address 127.0.0.1"


class Callers(list[Caller]):
    """The caller of each query, in the order of asking."""

    async def note(self, query: server_query.Query) -> None:
        self.append(current_caller())


@pytest.fixture
def callers(scorer: ScriptedScorer) -> Callers:
    noted = Callers()
    scorer.pause = noted.note
    return noted


async def ask(client: AsyncRewardClient) -> None:
    """One query, and one step of an episode."""
    await client.progress(pixels(), TASK)
    (opened,) = await client.open_episodes([EpisodeSpec(TASK, ["progress"], interval=1)])
    episode = opened.id  # type: ignore[union-attr]
    for step in range(2):
        await client.step_episodes([EpisodeStep(episode, step, pixels(seed=step))])


@pytest.mark.parametrize(
    ("options", "caller"),
    [
        ({"name": "learner-7"}, Caller("learner-7", LEARNER)),
        ({"name": "arm-2", "priority": "interactive"}, Caller("arm-2", ROBOT)),
        ({"name": "arm-2", "priority": "batch"}, Caller("arm-2", LEARNER)),
    ],
)
async def test_a_client_says_its_name_and_priority(
    served: Served, callers: Callers, transport: str, options: dict[str, Any], caller: Caller
) -> None:
    await ask(await served.client(transport, **options))
    assert callers == [caller] * 2


async def test_clients_that_name_themselves_not_are_told_apart(
    served: Served, callers: Callers, transport: str
) -> None:
    for _ in range(3):
        await (await served.client(transport)).progress(pixels(), TASK)
    assert len({caller.name for caller in callers}) == 3
    assert ADDRESS not in {caller.name for caller in callers}


async def test_a_trajectory_is_asked_by_its_client(
    served: Served, callers: Callers, transport: str
) -> None:
    client = await served.client(transport, name="recorder")
    await client.score_trajectory([pixels(seed=1), pixels(seed=2)], TASK, ["progress"])
    assert set(callers) == {Caller("recorder", LEARNER)}


async def test_an_address_stands_for_who_has_no_name(served: Served, callers: Callers) -> None:
    request = pb.ScoreRequest(queries=[pb.Query(head="progress", task=TASK, current=0)])
    request.frames.list.frames.append(FRAME)
    for _ in range(2):
        channel = await served.channel(("grpc.use_local_subchannel_pool", 1))
        await channel.unary_unary(
            "/lrm.v1.RewardService/Score",
            pb.ScoreRequest.SerializeToString,
            pb.ScoreResponse.FromString,
        )(request)
    http = await served.http()
    files = {"current": ("a.png", FRAME.data, "image/png")}
    await http.post("/v1/progress", data={"task": TASK}, files=files)
    assert callers == [Caller(ADDRESS, LEARNER)] * 3


@pytest.mark.parametrize(
    ("metadata", "priority"), [((), ROBOT), (((PRIORITY_KEY, "batch"),), LEARNER)]
)
async def test_a_stream_is_a_robots_unless_it_says_otherwise(
    served: Served, callers: Callers, metadata: Any, priority: Priority
) -> None:
    stream = (await served.stub()).StreamEpisode(metadata=metadata)
    opening = pb.EpisodeSpec(id="robot", task=TASK, heads=["progress"], interval=1)
    await stream.write(pb.StreamEpisodeRequest(open=opening))
    await stream.read()
    for step in range(3):
        await stream.write(
            pb.StreamEpisodeRequest(step=pb.StreamEpisodeRequest.Step(step=step, frame=FRAME))
        )
        await stream.read()
    await stream.done_writing()
    assert callers == [Caller(ADDRESS, priority)] * 2


async def test_calls_at_once_do_not_take_each_others_names(
    served: Served, callers: Callers, transport: str
) -> None:
    clients = [await served.client(transport, name=f"c{number}") for number in range(8)]
    queries = [Query("progress", TASK, current=pixels(seed=seed)) for seed in range(5)]
    await asyncio.gather(*(client.score_batch(queries) for client in clients))
    assert sorted(caller.name for caller in callers) == sorted(
        client.name for client in clients for _ in queries
    )


WRONG = [
    {PRIORITY_KEY: "urgent"},
    {PRIORITY_KEY: ""},
    {CLIENT_KEY: "a" * 101},
    {CLIENT_KEY: "two words"},
]


@pytest.mark.parametrize("said", WRONG)
async def test_a_header_that_is_wrong_is_refused_by_name(
    served: Served, callers: Callers, said: dict[str, str]
) -> None:
    (key,) = said
    http = await served.http()
    answer = await http.get("/v1/models", headers=said)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    assert answer.json()["field"] == key

    stub = await served.stub()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListModels(pb.ListModelsRequest(), metadata=tuple(said.items()))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert problem_of(refused.value).field == key
    assert "invalid_argument" in (await http.get("/metrics")).text


async def test_waits_and_refusals_are_counted_by_priority(
    served: Served, scorer: ScriptedScorer, transport: str
) -> None:
    scorer.engine = EngineStatus(True, "", 1, 5, queued={"interactive": 2, "batch": 3})
    client = await served.client(transport, priority="interactive")
    await client.progress(pixels(), TASK)
    scorer.answers = lambda query: DomainError(ErrorCode.OVERLOADED, "full")
    with pytest.raises(Overloaded):
        await (await served.client(transport)).progress(pixels(), TASK)
    page = (await (await served.http()).get("/metrics")).text
    for line in (
        'lrm_queue_wait_seconds_count{priority="interactive"} 1.0',
        'lrm_queue_refused_total{priority="batch"} 1.0',
        'lrm_queue_questions{priority="interactive"} 2.0',
        'lrm_queue_questions{priority="batch"} 3.0',
    ):
        assert line in page.splitlines()
