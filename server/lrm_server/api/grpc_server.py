"""The gRPC server: the service, its health, reflection, limits and the token."""

from __future__ import annotations

from typing import Any, Final

import grpc.aio
from grpc_health.v1 import health as health_names
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lrm_client.transport_grpc import SERVICE
from lrm_client.wire import reward_pb2_grpc
from lrm_server.api.calls import Calls
from lrm_server.api.grpc_auth import TokenInterceptor
from lrm_server.api.grpc_guard import Guard
from lrm_server.api.grpc_health import HealthServicer
from lrm_server.api.grpc_runs import RunInterceptor
from lrm_server.api.grpc_service import RewardServicer
from lrm_server.ops.auth import TokenCheck
from lrm_server.ops.health import Health
from lrm_server.ops.metrics import Metrics

METADATA_BYTES: Final = 16 * 1024


def grpc_server(
    calls: Calls,
    health: Health,
    metrics: Metrics,
    check: TokenCheck,
    *,
    max_requests: int = 1024,
) -> grpc.aio.Server:
    """A server of the running event loop; the caller binds, starts and stops it.

    Args:
        calls: what the service calls.
        health: whether the server can answer.
        metrics: which count the calls.
        check: of the token.
        max_requests: most calls in flight, a stream being one; those beyond it are refused
            as RESOURCE_EXHAUSTED before their request is read.
    """
    server = grpc.aio.server(
        interceptors=[TokenInterceptor(check, metrics), RunInterceptor()],
        options=_options(calls.limits.message),
        maximum_concurrent_rpcs=max_requests,
    )
    reward_pb2_grpc.add_RewardServiceServicer_to_server(
        RewardServicer(calls, Guard(metrics), health), server
    )
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(health), server)
    reflection.enable_server_reflection(
        [SERVICE, health_names.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    return server


def _options(message_bytes: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", message_bytes),
        ("grpc.max_metadata_size", METADATA_BYTES),
        # A second server on the same port is a mistake, not a way to share the load.
        ("grpc.so_reuseport", 0),
    ]
