"""Requests over HTTP, with the same deadline and the same retries as over gRPC."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import httpx

from lrm_client.attempts import Attempts, too_late
from lrm_client.connection import Connection, Method, Priority, RequestT, ResponseT
from lrm_client.errors import InvalidRequest, Unavailable
from lrm_client.http_requests import Exchange, exchanges, lanes
from lrm_client.http_responses import Outcome, assemble, is_unanswered
from lrm_client.http_trajectories import trajectory_exchange, trajectory_responses
from lrm_client.problems import error_from_problem, problem_from_httpx, problem_from_response
from lrm_client.trajectory_requests import SentTrajectory
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire.reward_pb2 import Problem

Headers: TypeAlias = Mapping[str, str]

CONCURRENT_REQUESTS = 32
"""How many episodes' requests a client has in flight at once."""


class _Base:
    """What both kinds of client share."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._settings: dict[str, Any] = {
            "base_url": connection.target.address,
            "headers": {"accept": "application/json"},
            # A proxy named in the environment would look for the server on its own machine.
            "trust_env": not connection.target.loopback,
        }

    def _content(self, exchange: Exchange) -> bytes | None:
        if exchange.body is None:
            return None
        content = json.dumps(exchange.body, separators=(",", ":")).encode()
        limit = self._connection.max_message_bytes
        if len(content) > limit:
            raise InvalidRequest(
                f"the request has {len(content)} bytes and the limit is {limit}: send fewer "
                "frames in one call, send them as jpeg, use gRPC, or raise max_message_bytes "
                "here and on the server",
                field="frames",
            )
        return content

    def _outcome(self, response: httpx.Response) -> Outcome:
        limit = self._connection.max_message_bytes
        if len(response.content) > limit:
            return Problem(
                code="internal",
                message=f"the response has {len(response.content)} bytes and the limit is {limit}",
            )
        try:
            body = response.json()
        except ValueError:
            body = response.text
        if not response.is_success:
            return problem_from_response(response.status_code, response.headers, body)
        if not isinstance(body, dict):
            return Problem(code="internal", message="the server's answer is no JSON object")
        return body


class HttpTransport(_Base):
    """A pool of connections, safe for several threads.

    The deadline bounds each network operation of the last attempt, as httpx has no
    bound for a response as a whole: a server that keeps dripping bytes can outlast it.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._client = httpx.Client(**self._settings)
        self._workers = ThreadPoolExecutor(CONCURRENT_REQUESTS, "lrm-http")

    def call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        timeout: float,
        priority: Priority | None = None,
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        headers, deadline = self._connection.headers(priority), time.monotonic() + timeout
        planned = exchanges(method, request)
        contents = [self._content(exchange) for exchange in planned]
        outcomes: dict[int, Outcome] = {}

        def follow(lane: list[int]) -> None:
            outcome: Outcome = {}
            for index in lane:
                if not is_unanswered(outcome):
                    outcome = self._exchange(planned[index], contents[index], headers, deadline)
                outcomes[index] = outcome

        parallel = lanes(planned)
        if len(parallel) == 1:
            follow(parallel[0])
        else:
            self._check_open()
            list(self._workers.map(follow, parallel))
        response: ResponseT = assemble(
            method, request, [outcomes[index] for index in range(len(planned))]
        )
        return response

    def trajectory(
        self, sent: SentTrajectory, timeout: float
    ) -> Iterator[pb.ScoreTrajectoryResponse]:
        """Sends a trajectory; what is answered, within ``timeout`` seconds, retries included."""
        exchange, content = trajectory_exchange(sent)
        headers, deadline = self._connection.headers(), time.monotonic() + timeout
        yield from _answered(self._exchange(exchange, content, headers, deadline))

    def close(self) -> None:
        """Drops the connections; calls after it fail."""
        self._workers.shutdown()
        self._client.close()

    def _check_open(self) -> None:
        if self._client.is_closed:
            raise Unavailable("the client is closed")

    def _exchange(
        self, exchange: Exchange, content: bytes | None, headers: Headers, deadline: float
    ) -> Outcome:
        self._check_open()
        attempts = Attempts(self._connection.retry, deadline)
        while True:
            outcome = self._attempt(exchange, content, headers, attempts.remaining())
            wait = attempts.wait_after(outcome) if isinstance(outcome, Problem) else None
            if wait is None:
                return outcome
            time.sleep(wait)

    def _attempt(
        self, exchange: Exchange, content: bytes | None, headers: Headers, seconds: float
    ) -> Outcome:
        if seconds <= 0:
            return too_late()
        try:
            response = self._client.request(
                exchange.method,
                exchange.path,
                content=content,
                headers={**headers, **_headers(exchange, seconds)},
                timeout=seconds,
            )
        except httpx.HTTPError as error:
            return problem_from_httpx(error)
        return self._outcome(response)


class AsyncHttpTransport(_Base):
    """A pool of connections of one event loop."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._client = httpx.AsyncClient(**self._settings)
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS)

    async def call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        timeout: float,
        priority: Priority | None = None,
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        headers, deadline = self._connection.headers(priority), time.monotonic() + timeout
        planned = exchanges(method, request)
        contents = [self._content(exchange) for exchange in planned]
        outcomes: dict[int, Outcome] = {}

        async def follow(lane: list[int]) -> None:
            outcome: Outcome = {}
            for index in lane:
                if not is_unanswered(outcome):
                    outcome = await self._exchange(
                        planned[index], contents[index], headers, deadline
                    )
                outcomes[index] = outcome

        await asyncio.gather(*map(follow, lanes(planned)))
        response: ResponseT = assemble(
            method, request, [outcomes[index] for index in range(len(planned))]
        )
        return response

    async def trajectory(
        self, sent: SentTrajectory, timeout: float
    ) -> AsyncIterator[pb.ScoreTrajectoryResponse]:
        """As of the blocking client."""
        headers, deadline = self._connection.headers(), time.monotonic() + timeout
        # Writing the form takes a while for many frames: other tasks go on meanwhile.
        exchange, content = await asyncio.to_thread(trajectory_exchange, sent)
        for response in _answered(await self._exchange(exchange, content, headers, deadline)):
            yield response

    async def close(self) -> None:
        """Drops the connections; calls after it fail."""
        await self._client.aclose()

    async def _exchange(
        self, exchange: Exchange, content: bytes | None, headers: Headers, deadline: float
    ) -> Outcome:
        if self._client.is_closed:
            raise Unavailable("the client is closed")
        attempts = Attempts(self._connection.retry, deadline)
        while True:
            async with self._slots:
                outcome = await self._attempt(exchange, content, headers, attempts.remaining())
            wait = attempts.wait_after(outcome) if isinstance(outcome, Problem) else None
            if wait is None:
                return outcome
            await asyncio.sleep(wait)

    async def _attempt(
        self, exchange: Exchange, content: bytes | None, headers: Headers, seconds: float
    ) -> Outcome:
        if seconds <= 0:
            return too_late()
        try:
            response = await asyncio.wait_for(
                self._client.request(
                    exchange.method,
                    exchange.path,
                    content=content,
                    headers={**headers, **_headers(exchange, seconds)},
                    timeout=seconds,
                ),
                seconds,
            )
        except httpx.HTTPError as error:
            return problem_from_httpx(error)
        except asyncio.TimeoutError:
            return Problem(code="deadline_exceeded", message="no answer in time")
        return self._outcome(response)


def _headers(exchange: Exchange, seconds: float) -> dict[str, str]:
    """Tells the server how long this attempt waits, so that it does no work for nobody."""
    return {
        "content-type": exchange.content_type,
        "x-request-timeout-ms": f"{1000 * seconds:.0f}",
    }


def _answered(outcome: Outcome) -> Iterator[pb.ScoreTrajectoryResponse]:
    if isinstance(outcome, pb.Problem):
        raise error_from_problem(outcome)
    return trajectory_responses(outcome)
