"""The server as a child process: ready, dying, stopping."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lrm_server.commands.process import LocalServerError, local_server

FAKE = """
import signal, sys, threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

flags = dict(flag.split("=") for flag in sys.argv if flag.startswith("--") and "=" in flag)
print("flags", *sys.argv[1:], flush=True)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
{before}
server = grpc.server(ThreadPoolExecutor(2))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(flags["--host"] + ":" + flags["--grpc-port"])
servicer.set("", health_pb2.HealthCheckResponse.{status})
server.start()
stop.wait()
server.stop(0).wait()
{after}
"""


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Mapping[str, str]]:
    """The environment of a child whose ``lrm serve`` does as the given lines say."""

    def make(before: str = "", after: str = "", status: str = "SERVING") -> Mapping[str, str]:
        package = tmp_path / "lrm_server"
        package.mkdir()
        (package / "__init__.py").touch()
        code = FAKE.format(before=before, after=after, status=status)
        (package / "main.py").write_text(code)
        path = os.pathsep.join([str(tmp_path), *sys.path])
        return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": path}

    return make


def test_a_server_is_ready_then_stops(fake: Callable[..., Mapping[str, str]]) -> None:
    with local_server(["--model=embedded"], fake()) as server:
        server.wait_until_ready(60)
        said = server.log.read_text()
        assert "serve --model=embedded --host=127.0.0.1" in said
        assert f"--grpc-port={server.grpc.rpartition(':')[2]}" in said
        server.stop(60)


def test_a_server_that_dies_shows_the_end_of_its_log(
    fake: Callable[..., Mapping[str, str]],
) -> None:
    environment = fake(before='print("the weights are broken", flush=True); sys.exit(7)')
    with (
        pytest.raises(LocalServerError, match=r"status 7(.|\n)*the weights are broken"),
        local_server([], environment) as server,
    ):
        server.wait_until_ready(60)


def test_a_server_that_is_never_ready_is_given_up(
    fake: Callable[..., Mapping[str, str]],
) -> None:
    with (
        pytest.raises(LocalServerError, match="not ready within"),
        local_server([], fake(status="NOT_SERVING")) as server,
    ):
        server.wait_until_ready(2)


def test_a_bad_exit_status_is_a_failure(fake: Callable[..., Mapping[str, str]]) -> None:
    environment = fake(after='print("could not finish", flush=True); sys.exit(5)')
    with local_server([], environment) as server:
        server.wait_until_ready(60)
        with pytest.raises(LocalServerError, match=r"status 5(.|\n)*could not finish"):
            server.stop(60)


def test_a_server_that_does_not_stop_is_ended(fake: Callable[..., Mapping[str, str]]) -> None:
    environment = fake(after="threading.Event().wait()")
    with local_server([], environment) as server:
        server.wait_until_ready(60)
        with pytest.raises(LocalServerError, match="did not stop"):
            server.stop(0.5)
        assert not _lives(server.pid)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_whatever_happens_the_server_does_not_outlive_the_command(
    fake: Callable[..., Mapping[str, str]], interruption: type[BaseException]
) -> None:
    with pytest.raises(interruption), local_server([], fake()) as server:  # noqa: PT012
        server.wait_until_ready(60)
        pid = server.pid
        raise interruption
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
