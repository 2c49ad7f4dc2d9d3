"""What is HTTP's alone: routes, statuses, deadlines, disconnects, readiness."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lrm_server.engine.protocol import EngineStatus
from lrm_server.errors import DomainError, ErrorCode
from tests.api.conftest import Serve, Served
from tests.api.frames import png
from tests.api.waiting import until
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"
FRAME = {"data": base64.b64encode(png()).decode(), "encoding": "png"}
QUERY = {"task": TASK, "current": FRAME}
MIB = 1024 * 1024


async def test_each_head_has_its_route(served: Served, scorer: ScriptedScorer) -> None:
    scorer.answers = lambda query: 1.0
    http = await served.http()
    for head in ("contrastive", "progress", "completion"):
        body = {**QUERY, "previous": FRAME} if head == "contrastive" else QUERY
        response = await http.post(f"/v1/{head}", json=body)
        assert response.status_code == 200, response.text
        assert (response.json()["head"], response.json()["value"]) == (head, 1.0)
        assert set(response.json()["timings_ms"]) == {"decode", "queue", "engine", "total"}


async def test_an_overloaded_server_says_when_to_come_back(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: DomainError(
        ErrorCode.OVERLOADED, "full", retry_after_seconds=1.2
    )
    response = await (await served.http()).post("/v1/progress", json=QUERY)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "2"
    assert response.json()["retry_after_seconds"] == 1.2


async def test_an_exception_nobody_expected_is_internal_and_tells_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*ids: Any) -> Any:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("lrm_server.api.calls.Calls.close", broken)
    response = await (await served.http()).delete("/v1/episodes/e")
    assert response.status_code == 500
    assert response.json()["code"] == "internal"
    assert "incident" in response.json()["detail"]
    assert "secret" not in response.text


async def test_a_batch_over_the_limit_is_refused(serve: Serve) -> None:
    http = await (await serve(max_batch=1)).http()
    response = await http.post("/v1/score", json={"queries": [{"head": "progress", **QUERY}] * 2})
    assert response.status_code == 400
    assert response.json()["field"] == "queries"


async def test_a_caller_that_goes_away_cancels_its_queries(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.pause = lambda query: asyncio.sleep(30)
    http = await served.http()
    sending = asyncio.ensure_future(http.post("/v1/progress", json=QUERY))
    await until(lambda: scorer.running == 1)
    sending.cancel()
    await until(lambda: scorer.cancelled == 1)
    assert scorer.running == 0


async def test_a_deadline_in_the_header_is_kept(served: Served, scorer: ScriptedScorer) -> None:
    scorer.pause = lambda query: asyncio.sleep(30)
    http = await served.http(headers={"x-request-timeout-ms": "200"})
    response = await http.post("/v1/progress", json=QUERY)
    assert response.status_code == 504
    assert response.json()["code"] == "deadline_exceeded"
    assert scorer.cancelled == 1


async def test_a_callers_time_runs_while_its_body_comes(
    served: Served, scorer: ScriptedScorer
) -> None:
    http = await served.http(headers={"x-request-timeout-ms": "10000"})
    body = json.dumps(QUERY).encode()
    came = 0.0

    async def slowly() -> AsyncIterator[bytes]:
        nonlocal came
        yield body[:10]
        await asyncio.sleep(0.3)
        came = time.monotonic()
        yield body[10:]

    headers = {"content-type": "application/json"}
    response = await http.post("/v1/progress", content=slowly(), headers=headers)
    assert response.status_code == 200, response.text
    (query,) = scorer.queries
    assert query.deadline is not None
    assert query.deadline < came + 9.0, "the last second is for the answer"


@pytest.mark.parametrize("value", ["soon", "nan", "-1"])
async def test_a_deadline_that_is_no_number_is_refused(served: Served, value: str) -> None:
    http = await served.http(headers={"x-request-timeout-ms": value})
    response = await http.post("/v1/progress", json=QUERY)
    assert response.status_code == 400
    assert response.json()["field"] == "x-request-timeout-ms"


async def test_an_episode_is_opened_stepped_and_closed(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: 0.4
    http = await served.http()
    spec = {"task": TASK, "heads": ["progress"], "interval": 1, "scale": 2.0}
    opened = (await http.post("/v1/episodes", json=spec)).json()
    assert opened["next_query_step"] == 1
    assert opened["neutral"] == {"progress": 0.0}
    path = f"/v1/episodes/{opened['id']}"
    first = (await http.post(f"{path}/steps", json={"step": 0, "frame": FRAME})).json()
    assert (first["step"], first["rewards"], first["next_query_step"]) == (0, {}, 1)
    last = (
        await http.post(f"{path}/steps", json={"step": 1, "frame": FRAME, "final": True})
    ).json()
    reward = last["rewards"]["progress"]
    assert (reward["reward"], reward["value"], reward["source"]) == (0.8, 0.4, "queried")
    assert (reward["age"], reward["reply"]["head"]) == (0, "progress")
    assert "error" not in reward
    assert last["next_query_step"] is None
    assert (await http.delete(path)).json() == {"id": opened["id"], "was_open": True}
    assert (await http.delete(path)).json() == {"id": opened["id"], "was_open": False}


async def test_a_failed_head_has_its_problem_and_no_value(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: DomainError(ErrorCode.LABEL_MASS_LOW, "not answering")
    http = await served.http()
    spec = {"id": "e", "task": TASK, "heads": ["progress"], "interval": 1}
    await http.post("/v1/episodes", json=spec)
    await http.post("/v1/episodes/e/steps", json={"step": 0, "frame": FRAME})
    response = await http.post("/v1/episodes/e/steps", json={"step": 1, "frame": FRAME})
    assert response.status_code == 200
    reward = response.json()["rewards"]["progress"]
    assert (reward["reward"], reward["value"], reward["source"]) == (None, None, "failed")
    assert reward["error"]["code"] == "label_mass_low"
    assert "reply" not in reward


async def test_models_have_openais_shape_with_ours_beside_it(served: Served) -> None:
    body = (await (await served.http()).get("/v1/models")).json()
    assert body["object"] == "list"
    (model,) = body["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("scripted", "model", "lrm")
    assert model["created"] > 1_600_000_000
    assert [head["name"] for head in model["heads"]] == [
        "contrastive",
        "progress",
        "completion",
        "tri",
    ]
    assert body["limits"]["max_batch"] == 4096


async def test_readiness_asks_the_engine_and_tells_why_not(
    serve: Serve, scorer: ScriptedScorer
) -> None:
    served = await serve(attach=False)
    http = await served.http()
    assert (await http.get("/healthz")).status_code == 200
    loading = await http.get("/readyz")
    assert loading.status_code == 503
    assert "loading" in loading.json()["detail"]
    served.server.attach(scorer)
    scorer.engine = EngineStatus(True, "", 3, 4)
    assert (await http.get("/readyz")).json() == {"status": "ready", "running": 3, "waiting": 4}
    scorer.engine = EngineStatus(False, "the engine is restarting", 0, 0)
    assert "restarting" in (await http.get("/readyz")).json()["detail"]
    assert (await http.get("/healthz")).status_code == 200
