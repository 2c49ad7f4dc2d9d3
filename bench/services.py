"""Other services beside lrm, each a process of its own for as long as a benchmark asks it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

import httpx

from lrm_server.commands.process import START_SECONDS, STOP_SECONDS

SETTLING_SECONDS: Final = 1.2
"""vLLM's processes go on taking cores for a second after their last message."""


def end_when_told() -> None:
    """Lets this process end what it has started when it is told to end (SIGTERM)."""

    def end(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


@contextmanager
def running(command: Sequence[str], *, quiet: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended with the context, and what it started with it.

    Args:
        command: what is run; its standard output can be read.
        quiet: drop what it says instead.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_until_ready(url: str, process: subprocess.Popen[str]) -> None:
    """Waits until a URL answers 200.

    Raises:
        RuntimeError: the process ended, or it took too long.
    """
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise RuntimeError(f"{url} was never ready (exit code {process.poll()})")


@contextmanager
def plain_service(model: str) -> Iterator[str]:
    """Transformers' ``generate``, one request at a time (``bench.generate_service``); its URL.

    Raises:
        RuntimeError: it did not start.
    """
    with running([sys.executable, "-m", "bench.generate_service", "--model", model]) as process:
        address = process.stdout.readline().strip() if process.stdout else ""
        if not address:
            raise RuntimeError("the plain service did not start")
        yield address


@contextmanager
def openai_server(checkpoint: Path, name: str, flags: Sequence[str]) -> Iterator[str]:
    """VLLM's own server with this process's environment; its URL.

    Args:
        checkpoint: what it serves.
        name: of the model in requests.
        flags: of the server.

    Raises:
        RuntimeError: it did not start.
    """
    port = free_port()
    # The `vllm` command of its CPU build does not start.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += [f"--model={checkpoint}", f"--served-model-name={name}"]
    command += ["--host=127.0.0.1", f"--port={port}", "--disable-uvicorn-access-log", *flags]
    with running(command, quiet=True) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{url}/health", process)
        yield url
