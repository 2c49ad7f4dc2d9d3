"""A scripted server on either transport, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lrm_client import Retry, RewardClient
from tests.client.gate import Gate
from tests.client.robot_rig import Hanging, by_frame
from tests.client.scripted import ScriptedCore
from tests.client.scripted_grpc import serve_grpc
from tests.client.scripted_http import serve_http

QUICK = Retry(attempts=4, initial_seconds=0.001, maximum_seconds=0.002)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def core() -> ScriptedCore:
    return ScriptedCore()


@pytest.fixture
def gate(core: ScriptedCore) -> Iterator[Gate]:
    """Before the server's answers to steps; open when the test has ended."""
    made = Gate(core)
    yield made
    made.open()


@pytest.fixture
def hanging(core: ScriptedCore) -> Iterator[Hanging]:
    """Holds the calls that a robot's test picks; all are answered when the test has ended."""
    core.answer = by_frame
    made = Hanging(core)
    yield made
    made.answer_all()


@pytest.fixture
def grpc_target(core: ScriptedCore) -> Iterator[str]:
    with serve_grpc(core) as target:
        yield target


@pytest.fixture(params=["grpc", "http"])
def target(request: pytest.FixtureRequest, core: ScriptedCore) -> Iterator[str]:
    """The same core over either transport."""
    serve = serve_grpc if request.param == "grpc" else serve_http
    with serve(core) as served:
        yield served


@pytest.fixture
def client(target: str) -> Iterator[RewardClient]:
    with RewardClient(target, retry=QUICK, timeout=10.0) as connected:
        yield connected


@pytest.fixture
def grpc_client(grpc_target: str) -> Iterator[RewardClient]:
    with RewardClient(grpc_target, retry=QUICK, timeout=10.0) as connected:
        yield connected
