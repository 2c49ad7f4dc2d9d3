"""What the server says of itself."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from lrm_server.api import to_json
from lrm_server.api.http_replies import AliveBody, ModelsBody, ProblemBody, ReadyBody
from lrm_server.api.http_state import State
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.ops.metrics import CONTENT_TYPE

router = APIRouter(tags=["server"])


@router.get("/v1/models")
async def models(state: State) -> ModelsBody:
    """The models that are served, their heads, and what requests are held to."""
    return to_json.models(state.calls.catalogue, state.calls.limits, state.created)


@router.get("/healthz")
async def alive() -> AliveBody:
    """The process is alive. Whether it can answer is /readyz's to say."""
    return AliveBody()


@router.get("/readyz", responses={503: {"model": ProblemBody, "description": "Not ready"}})
async def ready(state: State) -> ReadyBody:
    """Requests can be answered now; the engine itself is asked. 503 says why not."""
    readiness = await state.health.readiness()
    if not readiness.ready or readiness.engine is None:
        raise DomainError(ErrorCode.UNAVAILABLE, f"not ready: {readiness.reason}.")
    return ReadyBody(running=readiness.engine.running, waiting=readiness.engine.waiting)


@router.get("/metrics", response_class=Response)
async def metrics(state: State) -> Response:
    """Metrics in Prometheus' text format."""
    state.metrics.state(await state.health.readiness(), state.calls.open_episodes())
    return Response(state.metrics.render(), media_type=CONTENT_TYPE)
