"""Requests over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from lrm_client.attempts import Attempts
from lrm_client.connection import (
    TRAJECTORY,
    Connection,
    Method,
    Priority,
    RequestT,
    ResponseT,
)
from lrm_client.errors import InvalidRequest, LrmError, Unavailable
from lrm_client.problems import error_from_problem, problem_from_rpc
from lrm_client.trajectory_requests import SentTrajectory
from lrm_client.wire import reward_pb2 as pb

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

    def _metadata(self, priority: Priority | None = None) -> tuple[tuple[str, str], ...]:
        return tuple(self._connection.headers(priority).items())

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
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        timeout: float,
        priority: Priority | None = None,
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        data, metadata = self._serialised(request), self._metadata(priority)
        attempts = Attempts(self._connection.retry, time.monotonic() + timeout)
        while True:
            try:
                send: grpc.UnaryUnaryMultiCallable[bytes, ResponseT] = self._channel.unary_unary(
                    self._path(method), response_deserializer=method.response.FromString
                )
                return send(data, timeout=attempts.remaining(), metadata=metadata)
            except grpc.RpcError as error:
                problem, cause = problem_from_rpc(error), error
            except ValueError as error:
                raise _closed(error) from error
            wait = attempts.wait_after(problem)
            if wait is None:
                raise error_from_problem(problem) from cause
            time.sleep(wait)

    def trajectory(
        self,
        sent: SentTrajectory,
        timeout: float,
        begun: Callable[[grpc.Call], None] | None = None,
    ) -> Iterator[pb.ScoreTrajectoryResponse]:
        """Sends a trajectory; what is answered, as it comes, within ``timeout`` seconds.

        It is tried again while nothing was answered and its frames can be sent again.

        Args:
            sent: the trajectory.
            timeout: seconds, retries included.
            begun: is given each attempt, which it may cancel from another thread.
        """
        attempts = Attempts(self._connection.retry, time.monotonic() + timeout)
        while True:
            answered = False
            try:
                send: grpc.StreamStreamMultiCallable[
                    pb.ScoreTrajectoryRequest, pb.ScoreTrajectoryResponse
                ] = self._channel.stream_stream(
                    self._path(TRAJECTORY),
                    request_serializer=self._serialised,
                    response_deserializer=TRAJECTORY.response.FromString,
                )
                call = send(
                    sent.messages(), timeout=attempts.remaining(), metadata=self._metadata()
                )
                if begun is not None:
                    begun(call)
                try:
                    for response in call:
                        answered = True
                        sent.raise_refusal()
                        yield response
                finally:
                    call.cancel()
                sent.raise_refusal()
            except grpc.RpcError as error:
                problem, cause = problem_from_rpc(error), error
            except ValueError as error:
                raise _closed(error) from error
            else:
                return
            wait = None if answered or not sent.replayable else attempts.wait_after(problem)
            if wait is None:
                sent.raise_refusal()
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
        self._blocking: GrpcTransport | None = None
        self._closed = False

    async def call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        timeout: float,
        priority: Priority | None = None,
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        data, metadata = self._serialised(request), self._metadata(priority)
        attempts = Attempts(self._connection.retry, time.monotonic() + timeout)
        while True:
            try:
                send: grpc.aio.UnaryUnaryMultiCallable[bytes, ResponseT] = (
                    self._opened().unary_unary(
                        self._path(method), response_deserializer=method.response.FromString
                    )
                )
                return await send(data, timeout=attempts.remaining(), metadata=metadata)
            except grpc.RpcError as error:
                problem, cause = problem_from_rpc(error), error
            except grpc.aio.UsageError as error:
                raise _closed(error) from error
            wait = attempts.wait_after(problem)
            if wait is None:
                raise error_from_problem(problem) from cause
            await asyncio.sleep(wait)

    async def trajectory(
        self, sent: SentTrajectory, timeout: float
    ) -> AsyncIterator[pb.ScoreTrajectoryResponse]:
        """As of the blocking channel, which is used in a thread.

        A stream of this kind of channel loses the server's status when the server ends it
        while a message is on its way.
        """
        if self._closed:
            raise Unavailable("the client is closed")
        if self._blocking is None:
            self._blocking = GrpcTransport(self._connection)
        calls: list[grpc.Call] = []
        answers = self._blocking.trajectory(sent, timeout, calls.append)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "lrm-trajectory") as thread:
            try:
                while True:
                    response = await loop.run_in_executor(thread, next, answers, None)
                    if response is None:
                        return
                    yield response
            finally:
                # What the thread waits for ends with its call.
                for call in calls[-1:]:
                    call.cancel()

    async def close(self) -> None:
        """Drops the channel; calls after it fail."""
        self._closed = True
        if self._blocking is not None:
            self._blocking.close()
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
