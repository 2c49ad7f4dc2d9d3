"""Limits that callers are told, and how many requests may be in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio

from lrm_client import AsyncRewardClient, LrmError
from lrm_server.api.calls import Calls, Core, Limits
from lrm_server.api.grpc_server import grpc_server
from lrm_server.api.http_app import http_app
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.ops.auth import TokenCheck
from lrm_server.ops.health import Health
from lrm_server.ops.metrics import Metrics
from lrm_server.trajectories.service import TrajectoryService
from tests.api.conftest import ONCE, settings
from tests.api.frames import pixels, png
from tests.api.waiting import until
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"
MOST = 2


def test_how_many_labels_can_be_read_is_named_to_callers() -> None:
    assert Limits.of(settings(), max_labels=7).named()["max_labels"] == 7


@pytest.fixture
def parts(scorer: ScriptedScorer) -> tuple[Calls, Health, Metrics, TokenCheck]:
    """What both transports stand on."""
    store = MemoryEpisodeStore(max_episodes=9, max_frame_mib=9, idle_seconds=99)
    calls = Calls(Limits.of(settings()))
    trajectories = TrajectoryService(scorer, calls.limits.trajectory)
    calls.attach(Core(scorer, EpisodeService(scorer, store), trajectories))
    health = Health()
    health.serve(scorer)
    return calls, health, Metrics(), TokenCheck(None)


@pytest_asyncio.fixture
async def full(scorer: ScriptedScorer) -> AsyncIterator[Any]:
    """Fills a server with as many queries as it takes; ``release`` lets them be answered."""
    go_on = asyncio.Event()
    asking: list[asyncio.Future[Any]] = []

    async def pause(query: object) -> None:
        await go_on.wait()

    async def fill(ask: Any) -> None:
        scorer.pause = pause
        asking.extend(asyncio.ensure_future(ask()) for _ in range(MOST))
        await until(lambda: scorer.running == MOST)

    async def release() -> list[Any]:
        go_on.set()
        return await asyncio.gather(*asking)

    fill.release = release  # type: ignore[attr-defined]
    yield fill
    await release()


async def test_a_full_http_server_refuses_with_a_hint_and_says_that_it_is_alive(
    parts: Any, full: Any
) -> None:
    app = http_app(*parts, max_requests=MOST)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lrm") as http:

        async def ask() -> httpx.Response:
            files = {"current": png()}
            return await http.post("/v1/progress", data={"task": TASK}, files=files)

        await full(ask)
        refused = await ask()
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        problem = refused.json()
        assert problem["code"] == "overloaded"
        assert problem["retry_after_seconds"] > 0
        assert int(refused.headers["retry-after"]) > 0
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await http.get(path)).status_code == 200, path
        assert [answer.status_code for answer in await full.release()] == [200] * MOST
        assert (await ask()).status_code == 200


async def test_a_full_http_server_does_not_read_the_body(parts: Any) -> None:
    app = http_app(*parts, max_requests=0)
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/score",
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 429


async def test_a_full_grpc_server_refuses_as_overload(parts: Any, full: Any) -> None:
    server = grpc_server(*parts, max_requests=MOST)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, None)
        client = await stack.enter_async_context(
            AsyncRewardClient(f"127.0.0.1:{port}", retry=ONCE, timeout=20.0)
        )

        async def ask() -> float:
            return (await client.progress(pixels(), TASK)).value

        await full(ask)
        with pytest.raises(LrmError) as caught:
            await ask()
        assert caught.value.code == "overloaded"
        assert await full.release() == [0.5] * MOST
        assert await ask() == 0.5
