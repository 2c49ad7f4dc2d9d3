"""What the blocking client and that of an event loop are made of."""

from __future__ import annotations

from dataclasses import replace

from lrm_client.connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TIMEOUT,
    TRAJECTORY_TIMEOUT,
    Connection,
    Priority,
    Retry,
    fresh_name,
    parse_target,
)
from lrm_client.errors import InvalidRequest
from lrm_client.frames import FrameEncoder
from lrm_client.shared_memory import SharedMemory


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
        shared_memory: bool = False,
        name: str | None = None,
        priority: Priority | None = None,
    ) -> None:
        self._connection = Connection(
            parse_target(target),
            token,
            timeout,
            retry or Retry(),
            max_message_bytes,
            run,
            fresh_name() if name is None else name,
            priority,
        )
        self._encoder = encoder or FrameEncoder()
        self._reads_shared_memory = False
        """Whether the server said so."""
        if shared_memory:
            if self._connection.target.protocol != "grpc":
                raise ValueError(
                    f"shared_memory needs gRPC and the target is {target!r}: name the server's "
                    "gRPC port, or leave shared_memory out"
                )
            self._encoder = replace(self._encoder, shared=SharedMemory())

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

    @property
    def name(self) -> str:
        """By which the server tells it from other clients."""
        return self._connection.name

    def _take_offer(self, reads: bool) -> None:
        """Takes the server's word on whether it reads shared memory.

        Raises:
            InvalidRequest: it does not.
        """
        self._reads_shared_memory = reads
        if not reads:
            raise InvalidRequest(
                f"the server at {self.target} does not read frames from shared memory: start it "
                "on this machine with --shared-memory yes, or leave shared_memory out",
                field="shared_memory",
            )

    def _close_shared_memory(self) -> None:
        if self._encoder.shared is not None:
            self._encoder.shared.close()

    def _trajectory_deadline(self, timeout: float | None) -> float:
        return TRAJECTORY_TIMEOUT if timeout is None else self._connection.deadline(timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"
