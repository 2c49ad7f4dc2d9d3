"""What /metrics says after requests, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lrm_client import EpisodeSpec, EpisodeStep, LrmError, Query
from lrm_server.engine.protocol import EngineStatus
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads import query as server_query
from tests.api.conftest import Served
from tests.api.frames import pixels
from tests.api.waiting import until
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"
HUSH = "hush"


class Scraped:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """The one sample of this name with at least these labels; None when there is none."""
        found = [
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1, f"{name} {labels} is {len(found)} samples"
        return found[0] if found else None

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self._samples if sample.name == name}


async def scrape(served: Served) -> Scraped:
    response = await (await served.http()).get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Scraped(response.text)


async def test_requests_are_counted_by_transport_method_and_code(
    served: Served, scorer: ScriptedScorer
) -> None:
    over_grpc, over_http = await served.client("grpc"), await served.client("http")
    await over_grpc.progress(pixels(), TASK)
    await over_http.progress(pixels(), TASK)
    await over_http.models()
    http = await served.http()
    await http.get("/no/such/path")
    await http.post("/v1/progress", json={})
    seen = await scrape(served)
    requests = {
        ("grpc", "Score", "ok"): 1,
        ("http", "POST /v1/score", "ok"): 1,
        ("http", "GET /v1/models", "ok"): 1,
        ("http", "unrouted", "invalid_argument"): 1,
        ("http", "POST /v1/progress", "invalid_argument"): 1,
    }
    for (transport, method, code), count in requests.items():
        labels = {"transport": transport, "method": method, "code": code}
        assert seen.value("lrm_requests_total", **labels) == count, labels
    name = "lrm_request_duration_seconds_count"
    assert seen.value(name, transport="grpc", method="Score") == 1


async def test_tokens_are_counted_by_head_and_kind(served: Served) -> None:
    client = await served.client("grpc")
    for _ in range(2):
        await client.progress(pixels(), TASK)
    seen = await scrape(served)
    for kind, count in (("prompt", 360), ("cached", 192), ("written", 14)):
        assert seen.value("lrm_query_tokens_total", head="progress", kind=kind) == count


async def test_failures_are_counted_by_their_code(served: Served, scorer: ScriptedScorer) -> None:
    scorer.answers = lambda query: DomainError(ErrorCode.OVERLOADED, "full")
    client = await served.client("grpc")
    with pytest.raises(LrmError):
        await client.progress(pixels(), TASK)
    seen = await scrape(served)
    assert seen.value("lrm_requests_total", method="Score", code="overloaded") == 1
    assert seen.value("lrm_queries_total", head="progress", outcome="overloaded") == 1


async def test_queries_are_counted_and_measured_by_head(
    served: Served, scorer: ScriptedScorer
) -> None:
    client = await served.client("grpc")
    frame = pixels()
    await client.score_batch(
        [
            Query("progress", TASK, current=frame),
            Query("tri", TASK, previous=frame, current=frame),
            Query("made-up-by-a-caller", TASK, current=frame),
            Query("progress", TASK),
        ]
    )
    seen = await scrape(served)
    assert seen.value("lrm_queries_total", head="progress", outcome="ok") == 1
    assert seen.value("lrm_queries_total", head="progress", outcome="invalid_argument") == 1
    assert seen.value("lrm_queries_total", head="tri", outcome="ok") == 1
    assert seen.value("lrm_queries_total", head="unknown", outcome="unknown_head") == 1
    assert "made-up-by-a-caller" not in seen.labels("lrm_queries_total", "head")
    assert seen.value("lrm_query_duration_seconds_count", head="tri") == 1
    for stage, milliseconds in {"decode": 1.0, "queue": 2.0, "engine": 3.0}.items():
        total = seen.value("lrm_query_stage_seconds_sum", stage=stage)
        assert total == pytest.approx(2 * milliseconds / 1000.0)
    # The composite head's parts are measured as the heads that they are.
    assert seen.value("lrm_label_mass_count", head="progress") == 2
    assert seen.value("lrm_label_mass_sum", head="contrastive") == pytest.approx(0.9)


async def test_rewards_are_counted_by_source(served: Served, scorer: ScriptedScorer) -> None:
    def answer(query: server_query.Query) -> float | DomainError:
        failing = len(scorer.queries) == 2
        return DomainError(ErrorCode.LABEL_MASS_LOW, "scripted") if failing else 0.5

    scorer.answers = answer
    client, frame = await served.client("grpc"), pixels()
    (opened,) = await client.open_episodes([EpisodeSpec(TASK, ["progress"], interval=2)])
    assert not isinstance(opened, LrmError)
    for number in range(5):
        # Queried at 2, failed at 4; neutral at 1, held at 3.
        step = EpisodeStep(opened.id, number, frame, request_id=f"s{number}")
        await client.step_episodes([step])
        await client.step_episodes([step])
    seen = await scrape(served)
    for source in ("neutral", "queried", "held", "failed"):
        assert seen.value("lrm_rewards_total", head="progress", source=source) == 1, source
    assert seen.value("lrm_queries_total", head="progress", outcome="label_mass_low") == 1
    assert seen.value("lrm_episodes_open") == 1
    await client.close_episodes([opened.id])
    assert (await scrape(served)).value("lrm_episodes_open") == 0


async def test_the_engines_state_is_asked_at_each_scrape(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.engine = EngineStatus(True, "", 5, 7)
    seen = await scrape(served)
    states = ("lrm_engine_ready", "lrm_engine_running", "lrm_engine_waiting")
    assert [seen.value(name) for name in states] == [1, 5, 7]
    scorer.engine = EngineStatus(False, "restarting", 0, 0)
    assert (await scrape(served)).value("lrm_engine_ready") == 0


async def test_cancelled_work_is_counted_as_such(served: Served, scorer: ScriptedScorer) -> None:
    scorer.pause = lambda query: asyncio.sleep(30)
    http = await served.http()
    client = await served.client("http")
    asking = asyncio.ensure_future(client.progress(pixels(), TASK))
    await until(lambda: scorer.running == 1)
    asking.cancel()
    await until(lambda: scorer.cancelled == 1)

    async def counted() -> Any:
        return (await scrape(served)).value("lrm_requests_total", code="cancelled")

    for _ in range(100):
        if await counted():
            break
        await asyncio.sleep(0.02)
    assert await counted() == 1
    seen = Scraped((await http.get("/metrics")).text)
    assert seen.value("lrm_queries_total", head="progress", outcome="cancelled") == 1


async def test_queries_that_are_late_are_counted_as_such(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.pause = lambda query: asyncio.sleep(30)
    client = await served.client("grpc")
    with pytest.raises(LrmError):
        await client.score(Query("progress", TASK, current=pixels()), timeout=0.5)
    await until(lambda: scorer.cancelled == 1)
    seen = await scrape(served)
    assert seen.value("lrm_queries_total", head="progress", outcome="deadline_exceeded") == 1


async def test_refused_tokens_are_counted(serve: Any) -> None:
    served = await serve(token=HUSH)
    for transport in ("grpc", "http"):
        with pytest.raises(LrmError):
            await (await served.client(transport)).models()
    seen = Scraped(served.server.metrics.render().decode())
    for transport in ("grpc", "http"):
        labels = {"transport": transport, "code": "unauthenticated"}
        assert seen.value("lrm_requests_total", **labels) == 1


async def test_the_process_and_the_build_are_named(served: Served) -> None:
    seen = await scrape(served)
    assert seen.value("lrm_build_info", model="scripted", fingerprint="s0") == 1
    assert seen.value("process_resident_memory_bytes") is not None
