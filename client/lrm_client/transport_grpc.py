"""Requests over gRPC."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from lrm_client.attempts import Attempts
from lrm_client.connection import Connection, Method, RequestT, ResponseT
from lrm_client.errors import InvalidRequest, LrmError, Unavailable
from lrm_client.problems import error_from_problem, problem_from_rpc

SERVICE = "lrm.v1.RewardService"


def channel_options(connection: Connection) -> list[tuple[str, Any]]:
    """The channel's limits, and how soon it looks again for a server that was away."""
    limit = connection.max_message_bytes
    options = [
        ("grpc.max_send_message_length", limit),
        ("grpc.max_receive_message_length", limit),
        # While a channel waits to connect again, every attempt fails at once.
        ("grpc.initial_reconnect_backoff_ms", int(1000 * connection.retry.initial_seconds)),
        ("grpc.max_reconnect_backoff_ms", int(1000 * connection.retry.maximum_seconds)),
    ]
    if connection.target.loopback:
        # A proxy named in the environment would look for the server on its own machine.
        options.append(("grpc.enable_http_proxy", 0))
    return options


class _Base:
    """What both kinds of channel share."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        token = connection.token
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def _path(self, method: Method[RequestT, ResponseT]) -> str:
        return f"/{SERVICE}/{method.name}"

    def _serialised(self, request: Message) -> bytes:
        size, limit = request.ByteSize(), self._connection.max_message_bytes
        if size > limit:
            raise InvalidRequest(
                f"the request has {size} bytes and the limit is {limit}: send fewer frames in "
                "one call, send them as jpeg, or raise max_message_bytes here and on the server",
                field="frames",
            )
        return request.SerializeToString()


class GrpcTransport(_Base):
    """A blocking channel, safe for several threads."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        target, options = connection.target, channel_options(connection)
        self._channel = (
            grpc.secure_channel(target.address, grpc.ssl_channel_credentials(), options)
            if target.secure
            else grpc.insecure_channel(target.address, options)
        )

    def call(
        self, method: Method[RequestT, ResponseT], request: RequestT, timeout: float
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        data = self._serialised(request)
        attempts = Attempts(self._connection.retry, time.monotonic() + timeout)
        while True:
            try:
                send: grpc.UnaryUnaryMultiCallable[bytes, ResponseT] = self._channel.unary_unary(
                    self._path(method), response_deserializer=method.response.FromString
                )
                return send(data, timeout=attempts.remaining(), metadata=self._metadata)
            except grpc.RpcError as error:
                problem, cause = problem_from_rpc(error), error
            except ValueError as error:
                raise _closed(error) from error
            wait = attempts.wait_after(problem)
            if wait is None:
                raise error_from_problem(problem) from cause
            time.sleep(wait)

    def close(self) -> None:
        """Drops the channel; calls after it fail."""
        self._channel.close()


class AsyncGrpcTransport(_Base):
    """A channel of the event loop that makes the first call."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    async def call(
        self, method: Method[RequestT, ResponseT], request: RequestT, timeout: float
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        data = self._serialised(request)
        attempts = Attempts(self._connection.retry, time.monotonic() + timeout)
        while True:
            try:
                send: grpc.aio.UnaryUnaryMultiCallable[bytes, ResponseT] = (
                    self._opened().unary_unary(
                        self._path(method), response_deserializer=method.response.FromString
                    )
                )
                return await send(data, timeout=attempts.remaining(), metadata=self._metadata)
            except grpc.RpcError as error:
                problem, cause = problem_from_rpc(error), error
            except grpc.aio.UsageError as error:
                raise _closed(error) from error
            wait = attempts.wait_after(problem)
            if wait is None:
                raise error_from_problem(problem) from cause
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Drops the channel; calls after it fail."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    def _opened(self) -> grpc.aio.Channel:
        if self._closed:
            raise Unavailable("the client is closed")
        # A channel belongs to the running loop, which a constructor may not have yet.
        if self._channel is None:
            target, options = self._connection.target, channel_options(self._connection)
            self._channel = (
                grpc.aio.secure_channel(target.address, grpc.ssl_channel_credentials(), options)
                if target.secure
                else grpc.aio.insecure_channel(target.address, options)
            )
        return self._channel


def _closed(error: Exception) -> LrmError:
    return Unavailable(f"the client is closed: {error}")
