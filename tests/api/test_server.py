"""The server as a whole: ports, stopping, signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from lrm_client import LrmError
from lrm_server import app
from lrm_server.api.listening import listen
from lrm_server.app import PortTaken, Server, serve_forever
from lrm_server.config import Settings
from lrm_server.errors import DomainError, ErrorCode
from tests.api.conftest import Serve, Served, settings
from tests.api.frames import pixels
from tests.api.waiting import until
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"


async def test_free_ports_are_taken_and_told(served: Served) -> None:
    assert served.server.http_port > 0
    assert served.server.grpc_port > 0
    assert served.server.http_port != served.server.grpc_port


@pytest.mark.parametrize("which", ["http_port", "grpc_port"])
async def test_a_taken_port_is_an_error_that_names_its_flag(which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(settings(**{which: port}))
        with pytest.raises(PortTaken) as caught:
            async with server:
                pass
    assert f"--{which.replace('_', '-')}" in str(caught.value)
    assert str(port) in str(caught.value)


async def test_a_stop_finishes_what_is_in_flight_and_takes_nothing_new(
    served: Served, scorer: ScriptedScorer, transport: str
) -> None:
    go_on = asyncio.Event()

    async def pause(query: object) -> None:
        await go_on.wait()

    scorer.pause = pause
    client = await served.client(transport)
    asking = asyncio.ensure_future(client.progress(pixels(), TASK))
    await until(lambda: scorer.running == 1)
    stopping = asyncio.ensure_future(served.server.stop(grace=20))
    await asyncio.sleep(0)
    assert not (await served.server.health.readiness()).ready
    other = await served.client(transport, timeout=2.0)
    with pytest.raises(LrmError) as caught:
        await _refused(other)
    assert caught.value.code == "unavailable"
    assert not stopping.done()
    go_on.set()
    assert (await asking).value == 0.5
    await asyncio.wait_for(stopping, 10)


async def _refused(client) -> None:
    """Asks until the listener is closed, which takes the server a moment."""
    for _ in range(100):
        await client.models()
        await asyncio.sleep(0.02)


async def test_a_stop_gives_up_what_outlasts_its_grace(
    served: Served, scorer: ScriptedScorer, transport: str
) -> None:
    scorer.pause = lambda query: asyncio.sleep(60)
    client = await served.client(transport)
    asking = asyncio.ensure_future(client.progress(pixels(), TASK))
    await until(lambda: scorer.running == 1)
    await asyncio.wait_for(served.server.stop(grace=0.2), 10)
    with pytest.raises(LrmError):
        await asking
    await until(lambda: scorer.cancelled == 1)


def test_small_answers_are_not_held_back_to_be_sent_together() -> None:
    # asyncio sets TCP_NODELAY on connections of listeners that say that they are TCP.
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_stopping_twice_is_no_error(served: Served) -> None:
    await served.server.stop(grace=1)
    await served.server.stop(grace=1)


def _opens(scorer: ScriptedScorer, log: list[str]):
    @asynccontextmanager
    async def open_scorer(given: Settings, *_: object) -> AsyncIterator[ScriptedScorer]:
        log.append("opened")
        try:
            yield scorer
        finally:
            log.append("closed")

    return open_scorer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_serving_in_order(
    monkeypatch: pytest.MonkeyPatch,
    unused_tcp_port_factory,
    scorer: ScriptedScorer,
    number: signal.Signals,
) -> None:
    log: list[str] = []
    monkeypatch.setattr(app, "open_scorer", _opens(scorer, log))
    port = unused_tcp_port_factory()
    serving = asyncio.ensure_future(serve_forever(settings(http_port=port)))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        await _answers(http, "/readyz", 200)
        os.kill(os.getpid(), number)
        await asyncio.wait_for(serving, 15)
        with pytest.raises(httpx.ConnectError):
            await http.get("/healthz")
    assert log == ["opened", "closed"]


async def test_collections_pass_over_what_was_loaded(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port_factory, scorer: ScriptedScorer
) -> None:
    monkeypatch.setattr(app, "open_scorer", _opens(scorer, []))
    gc.unfreeze()
    loaded = len(gc.get_objects())
    port = unused_tcp_port_factory()
    serving = asyncio.ensure_future(serve_forever(settings(http_port=port)))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            await _answers(http, "/readyz", 200)
        frozen = gc.get_freeze_count()
    finally:
        gc.unfreeze()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 15)
    assert frozen > loaded / 2


async def test_a_signal_while_the_engine_loads_ends_serving(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port_factory
) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def slow(given: Settings, *_: object) -> AsyncIterator[ScriptedScorer]:
        log.append("loading")
        try:
            await asyncio.sleep(60)
        finally:
            log.append("given up")
        yield ScriptedScorer()

    monkeypatch.setattr(app, "open_scorer", slow)
    port = unused_tcp_port_factory()
    serving = asyncio.ensure_future(serve_forever(settings(http_port=port)))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        await _answers(http, "/healthz", 200)
        await _answers(http, "/readyz", 503)
        await until(lambda: bool(log))
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 15)
    assert log == ["loading", "given up"]


async def _answers(http: httpx.AsyncClient, path: str, status: int) -> None:
    for _ in range(500):
        with suppress(httpx.ConnectError):
            if (await http.get(path)).status_code == status:
                return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} never answered {status}")


@pytest.mark.parametrize(
    "error",
    [
        DomainError(ErrorCode.INVALID_ARGUMENT, "there is no checkpoint", field="model"),
        RuntimeError("the engine could not be loaded"),
    ],
)
async def test_a_checkpoint_that_cannot_be_opened_is_a_failed_exit(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    @asynccontextmanager
    async def broken(given: Settings, *_: object) -> AsyncIterator[ScriptedScorer]:
        raise error
        yield

    monkeypatch.setattr(app, "open_scorer", broken)
    monkeypatch.setattr(app, "_until_signalled", _never)
    assert await asyncio.to_thread(app.serve, settings()) == 1


@asynccontextmanager
async def _never() -> AsyncIterator[asyncio.Event]:
    """Signal handlers belong to the main thread, where the test runs."""
    yield asyncio.Event()


async def test_two_servers_count_apart(serve: Serve, scorer: ScriptedScorer) -> None:
    one, two = await serve(), await serve()
    await (await one.client("grpc")).progress(pixels(), TASK)
    assert b"lrm_queries_total{" in one.server.metrics.render()
    assert b"lrm_queries_total{" not in two.server.metrics.render()
