"""``lrm serve`` as a child process, for as long as a command needs a server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

START_SECONDS: Final = 600.0
"""A checkpoint of billions of parameters takes minutes to load."""
STOP_SECONDS: Final = 60.0
LOG_LINES: Final = 25

_SOON: Final = (
    # Otherwise the channel waits ever longer between its tries to connect.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)


class LocalServerError(Exception):
    """The server did not start, or did not stop as it should; ends with its log's last lines."""


@dataclass
class LocalServer:
    """A server that runs as a child process.

    Attributes:
        grpc: ``host:port``.
        http: base URL.
        log: file that its output goes to.
    """

    grpc: str
    http: str
    log: Path
    _process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Of the child, which leads a session of its own."""
        return self._process.pid

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Waits until the server's own health check says that it serves.

        Raises:
            LocalServerError: it died, or is not ready in time.
        """
        deadline = time.monotonic() + seconds
        request = health_pb2.HealthCheckRequest()
        with grpc.insecure_channel(self.grpc, options=_SOON) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            while time.monotonic() < deadline:
                status = self._process.poll()
                if status is not None:
                    raise self._failed(f"the server stopped with exit status {status}")
                with suppress(grpc.RpcError):
                    answer = check(request, timeout=2.0)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                time.sleep(0.1)
        raise self._failed(f"the server was not ready within {seconds:.0f} s")

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Asks the server to finish what it has and to stop (SIGTERM).

        Raises:
            LocalServerError: it did not stop in time, or not with exit status 0.
        """
        self._process.terminate()
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failed(f"the server did not stop within {seconds:.0f} s") from None
        if status != 0:
            raise self._failed(f"the server stopped with exit status {status}")

    def kill(self) -> None:
        """Ends the server and what it started, at once."""
        # Also where the server is gone already: its engine's processes are of its group.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _failed(self, cause: str) -> LocalServerError:
        lines = self.log.read_text("utf-8", "replace").splitlines()
        tail = "\n".join(lines[-LOG_LINES:])
        return LocalServerError(f"{cause}. The end of its log:\n{tail}")


@contextmanager
def local_server(
    arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[LocalServer]:
    """Starts ``lrm serve`` on free ports of loopback; it has ended when the context has.

    Args:
        arguments: further flags of ``lrm serve``.
        environment: the child's; None for this process's own.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lrm-"))
        log = Path(folder) / "server.log"
        output = stack.enter_context(log.open("wb"))
        http_port, grpc_port = _free_ports(2)
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lrm_server.main",
                "serve",
                *arguments,
                "--host=127.0.0.1",
                f"--http-port={http_port}",
                f"--grpc-port={grpc_port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # A Ctrl-C is this process's: it then stops the server in its own way.
            start_new_session=True,
        )
        address = f"127.0.0.1:{grpc_port}"
        server = LocalServer(address, f"http://127.0.0.1:{http_port}", log, process)
        stack.callback(server.kill)
        try:
            yield server
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            raise


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
