"""A whole server on loopback, scored by a script, and ways to reach it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
import structlog

from lrm_client import AsyncRewardClient, Retry
from lrm_client.wire.reward_pb2_grpc import RewardServiceStub
from lrm_server.app import Server
from lrm_server.config import Settings
from tests.scripted_scorer import ScriptedScorer

ONCE = Retry(attempts=1)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True, scope="session")
def _plain_log() -> Iterator[None]:
    """Without it an exception is rendered for a person, which takes seconds."""
    before = structlog.get_config()
    last = structlog.processors.KeyValueRenderer()
    structlog.configure(processors=[structlog.processors.format_exc_info, last])
    yield
    structlog.configure(**before)


def settings(**changes: Any) -> Settings:
    return Settings(**{"http_port": 0, "grpc_port": 0, **changes})


@pytest.fixture
def scorer() -> ScriptedScorer:
    return ScriptedScorer()


class Served:
    """A running server, and its callers."""

    def __init__(self, server: Server, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack
        self.http_url = f"http://127.0.0.1:{server.http_port}"
        self.grpc_target = f"127.0.0.1:{server.grpc_port}"

    async def http(self, **options: Any) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=self.http_url, timeout=20, **options)
        return await self._stack.enter_async_context(client)

    async def channel(self, *options: tuple[str, Any]) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(self.grpc_target, options=list(options))
        return await self._stack.enter_async_context(channel)

    async def stub(self) -> Any:
        return RewardServiceStub(await self.channel())

    async def client(self, transport: str, **options: Any) -> AsyncRewardClient:
        target = self.grpc_target if transport == "grpc" else self.http_url
        client = AsyncRewardClient(target, **{"retry": ONCE, "timeout": 20.0, **options})
        return await self._stack.enter_async_context(client)


Serve = Callable[..., Any]


@pytest_asyncio.fixture
async def serve(scorer: ScriptedScorer) -> AsyncIterator[Serve]:
    """Starts servers with the settings that a test asks for."""
    async with AsyncExitStack() as stack:

        async def start(*, attach: bool = True, **changes: Any) -> Served:
            server = Server(settings(**changes), scorer if attach else None)
            await stack.enter_async_context(server)
            return Served(server, stack)

        yield start


@pytest_asyncio.fixture
async def served(serve: Serve) -> Served:
    return await serve()


@pytest.fixture(params=["grpc", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture
async def client(served: Served, transport: str) -> AsyncRewardClient:
    """The real client, over either transport."""
    return await served.client(transport)
