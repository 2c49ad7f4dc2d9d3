"""What all tests share: one real engine for the session, and one real server on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lrm_server.app import Server
from lrm_server.config import Settings
from tests.engine_host import EngineHost, engine_host


@pytest.fixture(scope="session")
def served() -> Iterator[EngineHost]:
    """The embedded checkpoint as it is served by default: bfloat16, its manifest, its canary."""
    with engine_host(Settings(enforce_eager=True)) as host:
        yield host


@dataclass(frozen=True)
class LiveServer:
    """Addresses of a server on the real engine."""

    grpc: str
    http: str


@pytest.fixture(scope="session")
def live_server(served: EngineHost) -> Iterator[LiveServer]:
    """gRPC and HTTP on loopback, in the engine's loop."""

    async def start() -> Server:
        # gRPC binds a server to the loop that it is made in.
        return await Server(Settings(grpc_port=0, http_port=0), served.scorer).__aenter__()

    server = served.run(start())
    try:
        yield LiveServer(f"127.0.0.1:{server.grpc_port}", f"http://127.0.0.1:{server.http_port}")
    finally:
        served.run(server.stop(5.0))
