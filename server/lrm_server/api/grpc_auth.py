"""The token on gRPC, checked before a request is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health

from lrm_client.transport_grpc import SERVICE
from lrm_server.api.grpc_guard import TRANSPORT, Context, abort
from lrm_server.errors import DomainError
from lrm_server.ops.auth import TokenCheck
from lrm_server.ops.metrics import Metrics

OPEN_SERVICES: Final = frozenset({health.SERVICE_NAME})
"""Services that need no token: load balancers ask for health."""


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls that do not carry the server's token."""

    def __init__(self, check: TokenCheck, metrics: Metrics) -> None:
        self._check = check
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's handler, or one that refuses without reading the request."""
        handler = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.strip("/").partition("/")
        if handler is None or service in OPEN_SERVICES:
            return handler
        metadata = dict(handler_call_details.invocation_metadata)
        given = metadata.get("authorization")
        refusal = self._check.refusal(given.decode() if isinstance(given, bytes) else given)
        if refusal is None:
            return handler
        # Only methods that exist come so far: the label stays bounded.
        label = method if service == SERVICE else service
        self._metrics.request(TRANSPORT, label, refusal.code.value, 0.0)
        return refusing(handler, refusal)


def refusing(
    handler: grpc.RpcMethodHandler[Any, Any], refusal: DomainError
) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler of the same kind that answers with the refusal."""

    async def once(request: object, context: Context) -> None:
        await abort(context, refusal)

    async def stream(request: object, context: Context) -> AsyncIterator[None]:
        await abort(context, refusal)
        yield  # makes this a generator, which gRPC wants of a streaming method

    # Without a deserializer the request stays bytes that nobody parses.
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[(bool(handler.request_streaming), bool(handler.response_streaming))]
    return make(stream if handler.response_streaming else once)
