"""What stands around every gRPC call: errors become statuses, and calls are counted."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final, TypeAlias

import grpc.aio

from lrm_client.problems import PROBLEM_METADATA_KEY
from lrm_server.api.calling import caller_of
from lrm_server.api.problems import TABLE, internal_error
from lrm_server.api.to_wire import problem
from lrm_server.callers import Priority, ask_for
from lrm_server.errors import DomainError
from lrm_server.ops.metrics import CANCELLED, OK, Metrics

TRANSPORT: Final = "grpc"
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Guard:
    """Wraps the body of a servicer's method; ``async with guard.call(context, "Score"):``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def call(
        self, context: Context, method: str, unless_said: Priority = Priority.BATCH
    ) -> GuardedCall:
        """Counts a call and turns what it raises into its status.

        Args:
            context: of the call.
            method: its name.
            unless_said: the priority of what it asks, unless its metadata name one.
        """
        return GuardedCall(self._metrics, context, method, unless_said)


class GuardedCall:
    """One call, from its arrival to its answer."""

    def __init__(
        self, metrics: Metrics, context: Context, method: str, unless_said: Priority
    ) -> None:
        self._metrics = metrics
        self._context = context
        self._method = method
        self._unless_said = unless_said
        self._started = time.monotonic()

    async def __aenter__(self) -> None:
        """The call's body begins; what it asks is its caller's from now on."""
        said = dict(self._context.invocation_metadata() or ())
        try:
            # The body runs in this task, which is this call's alone.
            ask_for(caller_of(said, _address(self._context.peer()), self._unless_said))
        except DomainError as error:
            await self.__aexit__(type(error), error, error.__traceback__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The call's body ended, or raised what becomes its status."""
        code = OK
        try:
            if isinstance(error, DomainError):
                code = error.code.value
                await abort(self._context, error)
            elif isinstance(error, Exception):
                hidden = internal_error(error, method=self._method)
                code = hidden.code.value
                await abort(self._context, hidden)
            elif error is not None:
                code = CANCELLED
        finally:
            seconds = time.monotonic() - self._started
            self._metrics.request(TRANSPORT, self._method, code, seconds)


async def abort(context: Context, error: DomainError) -> None:
    """Ends a call with an error's status, its Problem in the trailing metadata."""
    metadata = ((PROBLEM_METADATA_KEY, problem(error).SerializeToString()),)
    await context.abort(TABLE[error.code].grpc, error.message, metadata)


def _address(peer: str) -> str:
    """The host of gRPC's ``ipv4:127.0.0.1:40312``: a port is a connection's, not a caller's."""
    return peer.partition(":")[2].rpartition(":")[0] or peer
