"""gRPC's own services: health, which follows the engine, and reflection."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lrm_client.transport_grpc import SERVICE
from lrm_server.engine.protocol import EngineStatus
from tests.api.conftest import Serve, Served
from tests.api.waiting import until
from tests.scripted_scorer import ScriptedScorer


async def _status(served: Served, service: str) -> Any:
    stub = health_pb2_grpc.HealthStub(await served.channel())
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_health_follows_the_engine(
    serve: Serve, scorer: ScriptedScorer, service: str
) -> None:
    served = await serve(attach=False)
    answer = health_pb2.HealthCheckResponse
    assert await _status(served, service) == answer.NOT_SERVING
    served.server.attach(scorer)
    assert await _status(served, service) == answer.SERVING
    scorer.engine = EngineStatus(False, "restarting", 0, 0)
    assert await _status(served, service) == answer.NOT_SERVING


async def test_health_of_an_unknown_service_is_not_found(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _status(served, "nosuch")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watching_health_tells_changes_until_the_server_stops(
    serve: Serve, scorer: ScriptedScorer
) -> None:
    served = await serve(attach=False)
    stub = health_pb2_grpc.HealthStub(await served.channel())
    seen: list[int] = []
    watching = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))

    async def watch() -> None:
        while (answer := await watching.read()) is not grpc.aio.EOF:
            seen.append(answer.status)

    task = asyncio.ensure_future(watch())
    await until(lambda: len(seen) == 1)
    served.server.attach(scorer)
    await until(lambda: len(seen) == 2)
    await served.server.stop(grace=10)
    await asyncio.wait_for(task, 10)
    answer = health_pb2.HealthCheckResponse
    assert seen == [answer.NOT_SERVING, answer.SERVING, answer.NOT_SERVING]


async def test_reflection_lists_the_services(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(await served.channel())
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    response = await call.read()
    listed = {entry.name for entry in response.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= listed
