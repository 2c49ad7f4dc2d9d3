"""The run that a gRPC call is asked for, named in its metadata."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from lrm_client.connection import RUN_KEY
from lrm_server.api.grpc_auth import refusing
from lrm_server.errors import DomainError
from lrm_server.ops.budgets import ask_for, checked_run_id


class RunInterceptor(grpc.aio.ServerInterceptor):
    """Tells the scorer on whose behalf a call asks."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's handler, or one that refuses an id that is none."""
        handler = await continuation(handler_call_details)
        given = dict(handler_call_details.invocation_metadata).get(RUN_KEY)
        if handler is None or given is None:
            return handler
        run = given.decode("latin-1") if isinstance(given, bytes) else given
        try:
            # The handler runs in this task, which is this call's alone.
            ask_for(checked_run_id(run, RUN_KEY))
        except DomainError as error:
            return refusing(handler, error)
        return handler
