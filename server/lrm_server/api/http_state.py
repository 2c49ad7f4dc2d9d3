"""What routes share: the core, how long a request may take, and whether its caller is there."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Header, Request

from lrm_server.api.arrival import Arrival
from lrm_server.api.calls import Calls
from lrm_server.api.http_errors import CallerGone
from lrm_server.errors import invalid
from lrm_server.ops.health import Health
from lrm_server.ops.metrics import Metrics

T = TypeVar("T")

ARRIVED_KEY: Final = "lrm.arrived"
"""Where a request's scope keeps the time.monotonic() seconds at which it came."""


@dataclass(frozen=True, slots=True)
class HttpState:
    """What the routes work with; lies in the application's state.

    Attributes:
        created: when the server started, in seconds since 1970.
    """

    calls: Calls
    health: Health
    metrics: Metrics
    created: int = field(default_factory=lambda: int(time.time()))


def _state(request: Request) -> HttpState:
    state: HttpState = request.app.state.lrm
    return state


State = Annotated[HttpState, Depends(_state)]


def _arrives(
    request: Request,
    x_request_timeout_ms: Annotated[
        str | None,
        Header(description="Milliseconds that the caller waits; the server has a limit too."),
    ] = None,
) -> Callable[[float], Arrival]:
    seconds: float | None = None
    if x_request_timeout_ms is not None:
        try:
            seconds = float(x_request_timeout_ms) / 1000.0
        except ValueError:
            seconds = math.nan
        if not seconds >= 0:
            raise invalid(
                "x-request-timeout-ms",
                f"{x_request_timeout_ms!r} is no number of milliseconds.",
            )
    # By now the body has been read, which the caller's time counts as well.
    return partial(Arrival, caller_seconds=seconds, at=request.scope.get(ARRIVED_KEY))


Arrives = Annotated[Callable[[float], Arrival], Depends(_arrives)]
"""Makes the arrival of a request from the seconds that the server works on it at most."""


def _arrival(state: State, arrives: Arrives) -> Arrival:
    return arrives(state.calls.limits.seconds)


Arrived = Annotated[Arrival, Depends(_arrival)]


async def while_wanted(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Does work for a caller, and gives it up when the caller closes its connection.

    The request's body must have been read.

    Raises:
        CallerGone: the caller went away; the work was cancelled.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise CallerGone
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
