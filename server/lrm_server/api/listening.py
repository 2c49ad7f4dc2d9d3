"""Sockets that are listened on, and what is said when one cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

BACKLOG: Final = 2048
"""Connections that may wait to be accepted."""


class PortTaken(Exception):  # noqa: N818 - named for what happened
    """An address cannot be listened on; the message names the flag to change."""


class Uvicorn(uvicorn.Server):
    """A uvicorn that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def listening(self, serving: asyncio.Task[None]) -> None:
        """Waits until connections are accepted."""
        while not self.started:
            if serving.done():
                await serving
                raise PortTaken("HTTP did not start; the log tells why.")
            await asyncio.sleep(0.005)

    def finish(self, grace: float) -> None:
        """Takes no new connections and gives requests in flight so many seconds."""
        self.config.timeout_graceful_shutdown = grace  # type: ignore[assignment]
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket of HTTP that is bound and listens.

    Raises:
        PortTaken: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on, which holds small answers for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise taken("HTTP", host, port, "http_port", str(error)) from error
    return listener


def taken(what: str, host: str, port: int, setting: str, cause: str) -> PortTaken:
    """The error of an address that cannot be bound, with the flag that changes it."""
    flag = f"--{setting.replace('_', '-')}"
    return PortTaken(
        f"{what} cannot listen on {host} port {port} ({cause}): choose another with {flag}, or 0 "
        f"for a free one, or another address with --host."
    )
