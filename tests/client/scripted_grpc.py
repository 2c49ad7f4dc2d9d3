"""The scripted core behind a real gRPC server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from lrm_client.wire import reward_pb2_grpc
from tests.client.scripted import ScriptedCore, ScriptedError


class ScriptedServicer(reward_pb2_grpc.RewardServiceServicer):
    def __init__(self, core: ScriptedCore) -> None:
        self._core = core

    def _handle(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self._core.metadata.append(dict(context.invocation_metadata()))
        try:
            return self._core.handle(method, request)
        except ScriptedError as failure:
            if failure.problem is not None:
                data = failure.problem.SerializeToString()
                context.set_trailing_metadata((("lrm-problem-bin", data),))
            context.abort(failure.status, "scripted")

    def Score(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._handle("Score", request, context)

    def OpenEpisodes(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._handle("OpenEpisodes", request, context)

    def StepEpisodes(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._handle("StepEpisodes", request, context)

    def CloseEpisodes(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._handle("CloseEpisodes", request, context)

    def ScoreTrajectory(self, request_iterator: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        yield from self._handle("ScoreTrajectory", list(request_iterator), context)

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._handle("ListModels", request, context)


@contextmanager
def serve_grpc(core: ScriptedCore, port: int = 0) -> Iterator[str]:
    """The target of a server that runs while the context lasts."""
    limit = 64 * 1024 * 1024
    options = [
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    reward_pb2_grpc.add_RewardServiceServicer_to_server(ScriptedServicer(core), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
