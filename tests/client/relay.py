"""A relay between a client and a server, whose connections can be cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread


class Relay:
    """Passes bytes on between its own port of loopback and a server's."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._lock = Lock()
        self._open: list[socket.socket] = []
        self.port = 0
        self._listener = self._listen()

    def cut(self) -> None:
        """Breaks every connection off; new ones are taken."""
        with self._lock:
            ended, self._open = self._open, []
        for each in ended:
            _end(each)

    def go_down(self) -> None:
        """Breaks every connection off and takes no more."""
        # A listener that waits for a connection notices only that it was shut down.
        _end(self._listener)
        self.cut()

    def come_back(self) -> None:
        """Takes connections again, on the same port."""
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._server)
            with self._lock:
                self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                Thread(target=_pass_on, args=(source, sink), daemon=True).start()


@contextmanager
def relayed(server_port: int) -> Iterator[Relay]:
    """A relay for as long as the context lasts."""
    relay = Relay(server_port)
    try:
        yield relay
    finally:
        relay.go_down()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
