"""The budget of a run, over both transports."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import grpc
import pytest

from lrm_client import AsyncRewardClient, EpisodeSpec, EpisodeStep, Query, errors
from lrm_client.budgets import Run, close_run, get_run, open_run
from lrm_client.connection import RUN_KEY
from lrm_client.wire import reward_pb2 as pb
from tests.api.conftest import Served
from tests.api.frames import pixels
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"
RUN = "ppo-stack-7"


async def test_a_client_opens_looks_at_and_closes_a_run(served: Served, transport: str) -> None:
    client = await served.client(transport, run=RUN)
    assert await client.send(open_run(RUN, 2)) == Run(RUN, queries=2, used=0, over=False)
    await client.progress(pixels(), TASK)
    assert await client.send(open_run(RUN, 1)) == Run(RUN, queries=1, used=1, over=True)
    assert await client.send(get_run(RUN)) == Run(RUN, queries=1, used=1, over=True)
    assert [await client.send(close_run(RUN)) for _ in range(2)] == [True, False]
    with pytest.raises(errors.RunNotFound):
        await client.send(get_run(RUN))


async def test_a_client_is_told_of_a_run_that_is_none(served: Served, transport: str) -> None:
    client = await served.client(transport)
    with pytest.raises(errors.InvalidRequest) as raised:
        await client.send(open_run("a/b", 2))
    assert raised.value.field == "id"


async def opened(served: Served, queries: int, run: str = RUN) -> Any:
    http = await served.http()
    answer = await http.post("/v1/runs", json={"id": run, "queries": queries})
    assert answer.status_code == 200
    assert answer.json() == {"id": run, "queries": queries, "used": 0, "over": queries == 0}
    return http


async def test_a_run_is_opened_looked_at_and_closed(served: Served) -> None:
    http = await opened(served, 2)
    await http.post("/v1/progress", json=body(), headers={RUN_KEY: RUN})
    standing = (await http.get(f"/v1/runs/{RUN}")).json()
    assert standing == {"id": RUN, "queries": 2, "used": 1, "over": False}
    assert (await http.delete(f"/v1/runs/{RUN}")).json() == {"id": RUN, "was_open": True}
    assert (await http.delete(f"/v1/runs/{RUN}")).json() == {"id": RUN, "was_open": False}
    gone = await http.get(f"/v1/runs/{RUN}")
    assert (gone.status_code, gone.json()["code"]) == (404, "run_not_found")


def body() -> dict[str, Any]:
    frame = pixels()
    data = base64.b64encode(frame.tobytes()).decode()
    return {"task": TASK, "current": {"data": data, "encoding": "raw", "shape": [*frame.shape]}}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"id": "a/b", "queries": 1}, "id"),
        ({"id": "", "queries": 1}, "id"),
        ({"id": RUN, "queries": -1}, "queries"),
        ({"id": RUN, "queries": "3"}, "queries"),
        ({"id": RUN}, "queries"),
    ],
)
async def test_a_run_that_is_none_is_refused(
    served: Served, sent: dict[str, Any], field: str
) -> None:
    answer = await (await served.http()).post("/v1/runs", json=sent)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_a_client_that_names_its_run_is_stopped_when_the_warm_up_is_over(
    served: Served, scorer: ScriptedScorer, transport: str
) -> None:
    await opened(served, 2)
    client = await served.client(transport, run=RUN)
    frame = pixels()
    for _ in range(2):
        await client.progress(frame, TASK)
    with pytest.raises(errors.WarmUpOver, match="asked 2 queries") as raised:
        await client.progress(frame, TASK)
    assert raised.value.code == "warm_up_over"
    assert len(scorer.queries) == 2
    # Who names no run goes on.
    await (await served.client(transport)).progress(frame, TASK)


async def test_a_batch_is_answered_as_far_as_the_budget_goes(
    served: Served, scorer: ScriptedScorer, transport: str
) -> None:
    await opened(served, 3)
    client = await served.client(transport, run=RUN)
    results = await client.score_batch([Query("progress", TASK, pixels())] * 5)
    assert [isinstance(result, errors.WarmUpOver) for result in results].count(True) == 2
    assert len(scorer.queries) == 3


async def test_callers_at_once_never_overrun_the_budget(
    served: Served, scorer: ScriptedScorer
) -> None:
    http = await opened(served, 7)
    clients = [await served.client(kind, run=RUN) for kind in ("grpc", "http") for _ in range(2)]

    async def ask(client: AsyncRewardClient) -> bool:
        try:
            await client.progress(pixels(), TASK)
        except errors.WarmUpOver:
            return False
        return True

    asked = await asyncio.gather(*(ask(client) for client in clients * 8))
    assert asked.count(True) == 7
    assert len(scorer.queries) == 7
    assert (await http.get(f"/v1/runs/{RUN}")).json()["over"]


async def test_due_steps_of_episodes_are_counted(
    served: Served, scorer: ScriptedScorer, transport: str
) -> None:
    await opened(served, 1)
    client = await served.client(transport, run=RUN)
    (episode,) = await client.open_episodes([EpisodeSpec(TASK, ["progress"], interval=1)])
    steps = [EpisodeStep(episode.id, step, pixels()) for step in range(3)]  # type: ignore[union-attr]
    _, first, second = await client.step_episodes(steps)
    assert first.rewards["progress"].error is None  # type: ignore[union-attr]
    assert isinstance(second.rewards["progress"].error, errors.WarmUpOver)  # type: ignore[union-attr]
    assert len(scorer.queries) == 1


async def test_the_points_of_a_trajectory_are_counted(
    served: Served, scorer: ScriptedScorer, transport: str
) -> None:
    await opened(served, 2)
    client = await served.client(transport, run=RUN)
    frames = [pixels() for _ in range(4)]
    with pytest.raises(errors.TrajectoryFailed) as raised:
        await client.score_trajectory(frames, TASK, ["progress"], fps=1.0)
    assert {type(each.error) for each in raised.value.failures} == {errors.WarmUpOver}
    assert len(raised.value.failures) == 2
    assert len(scorer.queries) == 2


async def test_a_stream_names_its_run_once(served: Served, scorer: ScriptedScorer) -> None:
    await opened(served, 1)
    stub = await served.stub()
    frame = pixels()
    height, width, _ = frame.shape
    sent = pb.Frame(encoding=pb.ENCODING_RAW, data=frame.tobytes(), height=height, width=width)
    call = stub.StreamEpisode(metadata=((RUN_KEY, RUN),))
    spec = pb.EpisodeSpec(task=TASK, heads=["progress"], interval=1)
    await call.write(pb.StreamEpisodeRequest(open=spec))
    await call.read()
    answers = []
    for step in range(3):
        message = pb.StreamEpisodeRequest.Step(step=step, frame=sent)
        await call.write(pb.StreamEpisodeRequest(step=message))
        answers.append((await call.read()).step.reply)
    await call.done_writing()
    assert answers[1].rewards[0].source == pb.SOURCE_QUERIED
    assert answers[2].rewards[0].error.code == "warm_up_over"
    assert len(scorer.queries) == 1


async def test_a_run_that_is_not_open_is_said_so(served: Served, transport: str) -> None:
    client = await served.client(transport, run="a misspelt one")
    with pytest.raises(errors.RunNotFound, match="misspelt"):
        await client.progress(pixels(), TASK)


async def test_one_status_on_each_transport(served: Served) -> None:
    http = await opened(served, 0)
    answer = await http.post("/v1/progress", json=body(), headers={RUN_KEY: RUN})
    assert (answer.status_code, answer.json()["code"]) == (409, "warm_up_over")
    assert "retry-after" not in answer.headers


async def test_an_id_that_is_none_is_refused_before_the_request_is_read(served: Served) -> None:
    http = await served.http()
    answer = await http.post("/v1/progress", json=body(), headers={RUN_KEY: "a/b"})
    assert (answer.status_code, answer.json()["field"]) == (400, RUN_KEY)
    stub = await served.stub()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ListModels(pb.ListModelsRequest(), metadata=((RUN_KEY, "a/b"),))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_refusals_are_seen_in_the_metrics(served: Served) -> None:
    http = await opened(served, 0)
    await http.post("/v1/progress", json=body(), headers={RUN_KEY: RUN})
    assert "warm_up_over" in (await http.get("/metrics")).text


@pytest.mark.parametrize("run", ["", " ", "ä", "a\nb"])
def test_a_client_refuses_a_run_that_no_header_can_carry(run: str) -> None:
    with pytest.raises(ValueError, match="run"):
        AsyncRewardClient("127.0.0.1:1", run=run)
