"""What stands around every HTTP request: counting, the token, how many, the size of the body."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lrm_client.connection import RUN_KEY
from lrm_server.api.calling import caller_of
from lrm_server.api.compat.errors import is_drop_in
from lrm_server.api.http_errors import CODE_KEY, BodyLimit, BodyTooLarge, problem_response
from lrm_server.api.http_state import ARRIVED_KEY
from lrm_server.api.problems import internal_error
from lrm_server.callers import asks
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.ops.auth import TokenCheck
from lrm_server.ops.budgets import checked_run_id, on_behalf_of
from lrm_server.ops.metrics import OK, Metrics

TRANSPORT: Final = "http"
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Paths that need no token: load balancers ask for health."""
UNCOUNTED_PATHS: Final = OPEN_PATHS | {"/metrics"}
"""Paths that a full server answers all the same: that it is full is told there."""
RETRY_SECONDS: Final = 1.0
"""When to come back to a server that is full; most requests take less."""
UNROUTED: Final = "unrouted"


class Observed:
    """Counts every request, and keeps what nobody expected from the caller."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = scope[ARRIVED_KEY] = time.monotonic()
        answering = False

        async def noticed(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception as error:
            hidden = internal_error(error, method=_method(scope))
            if answering:
                raise
            await problem_response(scope, hidden)(scope, receive, send)
        finally:
            code = scope.get(CODE_KEY, OK)
            self._metrics.request(TRANSPORT, _method(scope), code, time.monotonic() - started)


class TokenRequired:
    """Refuses requests without the server's token, before their body is read."""

    def __init__(self, app: ASGIApp, check: TokenCheck) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 401."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            given = dict(scope["headers"]).get(b"authorization")
            refusal = self._check.refusal(given.decode("latin-1") if given else None)
            if refusal is not None:
                await problem_response(scope, refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class RunNamed:
    """Tells the scorer on whose behalf a request asks, where it names its run."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses an id that is none."""
        given = None
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(RUN_KEY.encode())
        if given is None:
            await self._app(scope, receive, send)
            return
        try:
            run = checked_run_id(given.decode("latin-1"), RUN_KEY)
        except DomainError as error:
            await problem_response(scope, error)(scope, receive, send)
            return
        with on_behalf_of(run):
            await self._app(scope, receive, send)


class CallerNamed:
    """Tells the engine's queue who asks, and how urgently."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses a header that is wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = {name.decode("latin-1"): value for name, value in scope["headers"]}
        address, _ = scope.get("client") or ("", 0)
        try:
            caller = caller_of(said, address)
        except DomainError as error:
            await problem_response(scope, error)(scope, receive, send)
            return
        with asks(caller):
            await self._app(scope, receive, send)


class RequestsLimited:
    """Holds requests beyond so many in flight at the door, before their body is read.

    They are refused; on drop-in paths, whose clients cannot be told to come back, they
    wait in turn for as long as a request may take.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self._app = app
        self._most = most
        self._seconds = seconds
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 429."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED_PATHS:
            await self._app(scope, receive, send)
            return
        if self._in_flight < self._most:
            self._in_flight += 1
        elif not await self._given_place(scope["path"]):
            refusal = DomainError(
                ErrorCode.OVERLOADED,
                f"{self._in_flight} requests are in flight and no more may be: send several "
                "queries in one request, wait, or raise max_requests on the server.",
                retry_after_seconds=RETRY_SECONDS,
            )
            await problem_response(scope, refusal)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._leave()

    async def _given_place(self, path: str) -> bool:
        """Whether a request that may wait was given the place of one that is done."""
        if not is_drop_in(path) or not self._most:
            return False
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait_for(place, self._seconds)
        except asyncio.TimeoutError:
            # It can come just when the waiting ends.
            return place.done() and not place.cancelled()
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()
            raise
        return True

    def _leave(self) -> None:
        """Gives a place to the request that waits longest, or leaves it free."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._in_flight -= 1


class BodyLimited:
    """Holds a request's body to a limit while it is read, whatever its headers say."""

    def __init__(
        self, app: ASGIApp, limit: BodyLimit, by_path: Mapping[str, BodyLimit] = {}
    ) -> None:
        self._app = app
        self._limit = limit
        self._by_path = by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; the reader of a body that is too large gets BodyTooLarge."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._by_path.get(scope["path"], self._limit)
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit.bytes:
                await _discard(message, receive, seen, limit.bytes)
                raise BodyTooLarge(limit)
            return message

        await self._app(scope, limited, send)


async def _discard(message: Message, receive: Receive, seen: int, limit: int) -> None:
    """Reads on without keeping, so that a caller who is still sending sees the answer."""
    while message["type"] == "http.request" and message.get("more_body"):
        if seen > 2 * limit:
            return
        message = await receive()
        seen += len(message.get("body", b""))


def _method(scope: Scope) -> str:
    """The route's own path, not the caller's: labels stay bounded."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return f"{scope['method']} {path}" if path else UNROUTED
