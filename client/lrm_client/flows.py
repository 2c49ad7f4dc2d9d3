"""Work of several calls, written once for the blocking and the asynchronous client."""

# A call that fails goes back into the loop that made it.
# ruff: noqa: PERF203

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol, TypeAlias

from lrm_client.connection import Call, ResultT
from lrm_client.errors import LrmError
from lrm_client.frames import FrameEncoder

Flow: TypeAlias = Generator[Call[Any], Any, ResultT]
"""Work that yields the calls it needs, is sent their results, and returns its own."""


class Sender(Protocol):
    """A client, as flows see it."""

    @property
    def encoder(self) -> FrameEncoder:
        """How frames are encoded."""
        ...

    @property
    def max_message_bytes(self) -> int:
        """Limit of a request."""
        ...

    def send(self, call: Call[ResultT]) -> ResultT:
        """Sends a prepared call and reads its response."""
        ...


class AsyncSender(Protocol):
    """As ``Sender``, on an event loop."""

    @property
    def encoder(self) -> FrameEncoder:
        """How frames are encoded."""
        ...

    @property
    def max_message_bytes(self) -> int:
        """Limit of a request."""
        ...

    async def send(self, call: Call[ResultT]) -> ResultT:
        """Sends a prepared call and reads its response."""
        ...


def run(flow: Flow[ResultT], sender: Sender) -> ResultT:
    """Runs a flow; a call that fails is raised where the flow yielded it."""
    try:
        call = next(flow)
        while True:
            try:
                result = sender.send(call)
            except LrmError as error:
                call = flow.throw(error)
            else:
                call = flow.send(result)
    except StopIteration as stop:
        returned: ResultT = stop.value
        return returned


async def run_async(flow: Flow[ResultT], sender: AsyncSender) -> ResultT:
    """As ``run``, on an event loop."""
    try:
        call = next(flow)
        while True:
            try:
                result = await sender.send(call)
            except LrmError as error:
                call = flow.throw(error)
            else:
                call = flow.send(result)
    except StopIteration as stop:
        returned: ResultT = stop.value
        return returned
