"""Drop-in endpoints where several engines are served."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from lrm_server.app import Server
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import HeadEntry, Manifest, served_heads
from lrm_server.heads.routing import RoutingScorer
from lrm_server.heads.scoring import HeadScorer
from tests.api.compat.service import CompatEngine
from tests.api.conftest import settings

CHAT = "/v1/chat/completions"


def engine(name: str) -> CompatEngine:
    made = CompatEngine()
    made.fingerprint = f"fingerprint-of-{name}"
    made.writes = lambda conversation: f"{name} {conversation.adapter}"
    return made


def serving(made: CompatEngine, name: str, head: str, adapter: str | None = None) -> HeadScorer:
    manifest = Manifest(id="", heads={head: HeadEntry(profile=f"lrm_{head}", adapter=adapter)})
    heads = served_heads(manifest, {adapter: ""} if adapter else {})
    return HeadScorer(made, HeadCatalogue(heads, ModelCard(name, "", made.fingerprint)))


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    merged, base = engine("merged"), engine("base")
    scorer = RoutingScorer(
        {
            "merged": serving(merged, "merged", "progress"),
            "base": serving(base, "base", "completion", "trained"),
        },
        {},
    )
    async with Server(settings(), scorer) as server:
        url = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            yield client


@pytest.mark.parametrize(
    ("model", "wrote", "by"),
    [
        ("merged", "merged None", "merged"),
        ("base", "base None", "base"),
        ("trained", "base trained", "base"),
    ],
)
async def test_the_model_that_a_chat_names_writes(
    http: httpx.AsyncClient, model: str, wrote: str, by: str
) -> None:
    messages = [{"role": "user", "content": "How does it go?"}]
    answer = (await http.post(CHAT, json={"model": model, "messages": messages})).json()
    assert answer["choices"][0]["message"]["content"] == wrote
    assert answer["system_fingerprint"] == f"fingerprint-of-{by}"


async def test_a_model_that_is_not_served_names_all_that_are(http: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "How does it go?"}]
    answer = await http.post(CHAT, json={"model": "other", "messages": messages})
    assert answer.status_code == 404
    assert "merged, base, trained" in answer.text


async def test_the_model_of_robometers_outputs_is_the_one_that_gives_them(
    http: httpx.AsyncClient,
) -> None:
    info = (await http.get("/compat/robometer/model_info")).json()
    assert info["model_path"] == "merged"
    assert info["served_by"]["progress"] == "progress"
