"""What stands around every gRPC call: errors become statuses, and calls are counted."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final, TypeAlias

import grpc.aio

from lrm_client.problems import PROBLEM_METADATA_KEY
from lrm_server.api.problems import TABLE, internal_error
from lrm_server.api.to_wire import problem
from lrm_server.errors import DomainError
from lrm_server.ops.metrics import CANCELLED, OK, Metrics

TRANSPORT: Final = "grpc"
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Guard:
    """Wraps the body of a servicer's method; ``async with guard.call(context, "Score"):``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def call(self, context: Context, method: str) -> GuardedCall:
        """Counts a call and turns what it raises into its status."""
        return GuardedCall(self._metrics, context, method)


class GuardedCall:
    """One call, from its arrival to its answer."""

    def __init__(self, metrics: Metrics, context: Context, method: str) -> None:
        self._metrics = metrics
        self._context = context
        self._method = method
        self._started = time.monotonic()

    async def __aenter__(self) -> None:
        """The call's body begins."""

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
