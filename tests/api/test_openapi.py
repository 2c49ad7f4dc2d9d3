"""The documentation at /docs: complete, and a valid OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest_asyncio

from tests.api.conftest import Serve, Served

HUSH = "hush"
ROUTES = {
    ("post", "/v1/contrastive"),
    ("post", "/v1/progress"),
    ("post", "/v1/completion"),
    ("post", "/v1/score"),
    ("post", "/v1/episodes"),
    ("post", "/v1/episodes/{episode}/steps"),
    ("delete", "/v1/episodes/{episode}"),
    ("post", "/v1/trajectories"),
    ("get", "/v1/models"),
    ("post", "/v1/tasks/decompose"),
    ("post", "/v1/runs"),
    ("get", "/v1/runs/{run}"),
    ("delete", "/v1/runs/{run}"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/compat/lrm/health"),
    ("post", "/compat/lrm/compute_reward"),
    ("post", "/compat/lrm/compute_rewards_batch"),
    ("post", "/compat/lrm/compute_completion"),
    ("post", "/compat/lrm/compute_comparison"),
    ("post", "/compat/lrm/compute_roboreward"),
    ("post", "/compat/lrm/compute_topreward"),
    ("post", "/compat/lrm/compute_robometer"),
    ("post", "/compat/robometer/evaluate_batch"),
    ("post", "/compat/robometer/evaluate_batch_npy"),
    ("get", "/compat/robometer/health"),
    ("get", "/compat/robometer/gpu_status"),
    ("get", "/compat/robometer/model_info"),
    ("post", "/v1/chat/completions"),
}


@pytest_asyncio.fixture
async def document(served: Served) -> dict[str, Any]:
    return (await (await served.http()).get("/openapi.json")).json()


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


async def test_every_route_is_listed_and_told(document: dict[str, Any]) -> None:
    listed = {(verb, path) for path, verbs in document["paths"].items() for verb in verbs}
    assert listed == ROUTES
    for verbs in document["paths"].values():
        for operation in verbs.values():
            assert operation["description"]
            assert "422" not in operation["responses"]


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = [node["$ref"] for node in walk(document) if isinstance(node.get("$ref"), str)]
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_every_field_of_a_request_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    names = ("FrameBody", "QueryBody", "HeadQueryBody", "EpisodeBody", "StepBody", "ScoreBody")
    for name in (*names, "TrajectoryBody"):
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"


async def test_queries_may_come_as_json_and_as_a_form(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/progress"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert content["application/json"]["example"]["task"]


async def test_the_document_asks_for_the_token_where_one_is_needed(serve: Serve) -> None:
    served = await serve(token=HUSH)
    http = await served.http(headers={"authorization": f"Bearer {HUSH}"})
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert paths["/v1/score"]["post"]["security"] == [{"token": []}]
    assert "security" not in paths["/healthz"]["get"]


async def test_the_page_is_served(served: Served) -> None:
    response = await (await served.http()).get("/docs")
    assert response.status_code == 200
    assert "openapi.json" in response.text
