"""A server process that is killed and started again on the same ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lrm_server.commands.process import LocalServer

ROOT = Path(__file__).resolve().parents[2]
PATHS = os.pathsep.join([str(ROOT / "server"), str(ROOT / "client"), str(ROOT)])


class RestartingServer:
    """A server that listens on ports of loopback which it keeps over its lives.

    Args:
        command: the module that serves, and its flags but for the address.
        folder: where the logs are written.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._lives: list[LocalServer] = []
        with ExitStack() as stack:
            held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            self._http, self._grpc = (each.getsockname()[1] for each in held)

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self._grpc}"

    def start(self) -> LocalServer:
        """Starts a process, which is not ready yet."""
        log = self._folder / f"server-{len(self._lives)}.log"
        ports = [f"--http-port={self._http}", f"--grpc-port={self._grpc}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *self._command, "--host=127.0.0.1", *ports],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": PATHS},
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{self._http}"
        self._lives.append(LocalServer(self.grpc, url, log, process))
        return self._lives[-1]

    def freeze(self) -> None:
        """The process and its engine's take nothing more up, and stay where they are."""
        os.killpg(self._lives[-1].pid, signal.SIGSTOP)

    def kill(self) -> None:
        """Ends the process and its engine's at once (SIGKILL)."""
        self._lives[-1].kill()

    def end(self) -> None:
        for life in self._lives:
            life.kill()


@contextmanager
def restarting_server(command: Sequence[str], folder: Path) -> Iterator[RestartingServer]:
    """A server that has been started once; no process of it is left afterwards."""
    server = RestartingServer(command, folder)
    try:
        server.start()
        yield server
    finally:
        server.end()
