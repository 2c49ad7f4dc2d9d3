"""What the blocking client and that of an event loop are made of."""

from __future__ import annotations

from lrm_client.connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TIMEOUT,
    TRAJECTORY_TIMEOUT,
    Connection,
    Retry,
    parse_target,
)
from lrm_client.frames import FrameEncoder


class ClientBase:
    """What both clients are made of."""

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = None,
        encoder: FrameEncoder | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        run: str | None = None,
    ) -> None:
        self._connection = Connection(
            parse_target(target), token, timeout, retry or Retry(), max_message_bytes, run
        )
        self._encoder = encoder or FrameEncoder()

    @property
    def encoder(self) -> FrameEncoder:
        """How frames are encoded."""
        return self._encoder

    @property
    def max_message_bytes(self) -> int:
        """Limit of a request and of a response."""
        return self._connection.max_message_bytes

    @property
    def target(self) -> str:
        """The server's address."""
        return self._connection.target.address

    @property
    def run(self) -> str | None:
        """The run on whose behalf it asks; None for none."""
        return self._connection.run

    def _trajectory_deadline(self, timeout: float | None) -> float:
        return TRAJECTORY_TIMEOUT if timeout is None else self._connection.deadline(timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"
