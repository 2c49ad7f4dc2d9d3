"""``grpc.health.v1``: what the server says of itself, asked of the engine each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lrm_client.transport_grpc import SERVICE
from lrm_server.api.grpc_guard import Context
from lrm_server.ops.health import Health

WATCH_SECONDS: Final = 1.0
"""How often the engine is asked on behalf of those who watch."""
SERVICES: Final = ("", SERVICE)

_Answer = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Health of the server ("") and of its service; both follow readiness."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """SERVING when requests can be answered now."""
        if request.service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return await self._answer()

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status, and every change of it until the server stops."""
        last: int | None = None
        while True:
            stopping = self._health.stopping.is_set()
            answer = (
                await self._answer()
                if request.service in SERVICES
                else _Answer(status=_Answer.SERVICE_UNKNOWN)
            )
            if answer.status != last:
                last = answer.status
                yield answer
            if stopping:
                return
            try:
                await asyncio.wait_for(self._health.stopping.wait(), WATCH_SECONDS)
            except asyncio.TimeoutError:
                continue

    async def _answer(self) -> health_pb2.HealthCheckResponse:
        ready = (await self._health.readiness()).ready
        return _Answer(status=_Answer.SERVING if ready else _Answer.NOT_SERVING)
