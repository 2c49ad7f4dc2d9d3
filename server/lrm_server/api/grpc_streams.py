"""The messages of a caller's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio

from lrm_server.api.grpc_guard import Context
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.ops.health import Health


async def messages(context: Context, health: Health) -> AsyncGenerator[Any, None]:
    """The caller's messages, until it says that there are no more; each is read when asked for.

    Raises:
        DomainError: UNAVAILABLE when the server stops while it waits for one.
    """
    stopping = asyncio.ensure_future(health.stopping.wait())
    try:
        while True:
            reading = asyncio.ensure_future(context.read())
            try:
                await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    raise DomainError(ErrorCode.UNAVAILABLE, "the server is stopping.")
            finally:
                reading.cancel()
            message = reading.result()
            if message is grpc.aio.EOF:
                return
            yield message
    finally:
        stopping.cancel()
