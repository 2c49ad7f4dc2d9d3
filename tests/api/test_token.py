"""The token: everything but health needs it, on both transports."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lrm_client import LrmError, Unauthenticated
from lrm_client.wire import reward_pb2 as pb
from tests.api.conftest import Serve, Served
from tests.api.frames import pixels

TASK = "pick up the cube"
HUSH = "hush-hush"
WRONG: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer hush-hus"},
    {"authorization": "Bearer hush-hush-"},
    {"authorization": "Bearer"},
    {"authorization": "hush-hush"},
    {"authorization": "Basic hush-hush"},
]


@pytest.fixture
async def guarded(serve: Serve) -> Served:
    return await serve(token=HUSH)


async def test_the_client_gets_in_with_the_token(guarded: Served, transport: str) -> None:
    client = await guarded.client(transport, token=HUSH)
    assert (await client.progress(pixels(), TASK)).value == 0.5


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_the_client_stays_out_without_it(
    guarded: Served, transport: str, token: str | None
) -> None:
    client = await guarded.client(transport, token=token)
    with pytest.raises(Unauthenticated):
        await client.progress(pixels(), TASK)
    with pytest.raises(LrmError):
        await client.models()


@pytest.mark.parametrize("headers", WRONG)
async def test_every_path_needs_the_token(guarded: Served, headers: dict[str, str]) -> None:
    http = await guarded.http()
    for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nosuch"):
        response = await http.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["code"] == "unauthenticated"
        assert "hush" not in response.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_needs_no_token(guarded: Served, path: str) -> None:
    assert (await (await guarded.http()).get(path)).status_code == 200


async def test_a_body_is_not_read_before_the_token_is_checked(guarded: Served) -> None:
    response = await (await guarded.http()).post("/v1/score", content=b"no json at all")
    assert response.status_code == 401


@pytest.mark.parametrize("headers", WRONG)
async def test_every_method_needs_the_token(guarded: Served, headers: dict[str, str]) -> None:
    stub = await guarded.stub()
    metadata = tuple(headers.items())
    calls = [
        (stub.Score, pb.ScoreRequest()),
        (stub.OpenEpisodes, pb.OpenEpisodesRequest()),
        (stub.StepEpisodes, pb.StepEpisodesRequest()),
        (stub.CloseEpisodes, pb.CloseEpisodesRequest()),
        (stub.ListModels, pb.ListModelsRequest()),
    ]
    for method, request in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(request, metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "hush" not in caught.value.details()


async def test_streams_need_the_token(guarded: Served) -> None:
    streams: list[Any] = [(await guarded.stub()).StreamEpisode()]
    reflection = reflection_pb2_grpc.ServerReflectionStub(await guarded.channel())
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    streams.append(reflection.ServerReflectionInfo(iter([request])))
    for call in streams:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_grpc_health_needs_no_token(guarded: Served) -> None:
    stub = health_pb2_grpc.HealthStub(await guarded.channel())
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_token_may_stand_in_a_file(serve: Serve, transport: str, tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.write_text("hush-hush\n")
    served = await serve(token_file=file)
    client = await served.client(transport, token=HUSH)
    assert (await client.progress(pixels(), TASK)).value == 0.5
