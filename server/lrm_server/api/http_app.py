"""The HTTP application: routes, their documentation, and what stands around them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lrm_client.version import __version__
from lrm_server.api import (
    routes_episodes,
    routes_runs,
    routes_score,
    routes_server,
    routes_tasks,
    routes_trajectories,
)
from lrm_server.api.calls import Calls
from lrm_server.api.compat import chat, lrm, robometer
from lrm_server.api.compat.errors import is_drop_in
from lrm_server.api.http_errors import MEDIA_TYPE, BodyLimit, add_error_handlers
from lrm_server.api.http_middleware import (
    OPEN_PATHS,
    BodyLimited,
    CallerNamed,
    Observed,
    RequestsLimited,
    RunNamed,
    TokenRequired,
)
from lrm_server.api.http_models import QueryBody, TrajectoryBody
from lrm_server.api.http_replies import ProblemBody
from lrm_server.api.http_state import HttpState
from lrm_server.ops.auth import TokenCheck
from lrm_server.ops.health import Health
from lrm_server.ops.metrics import Metrics

DESCRIPTION: Final = """Frames and a task in words come in, rewards go out.

A frame is `{"data": base64, "encoding": "jpeg"|"png"|"raw", "shape": [h, w, 3]}` (the shape for
raw frames alone); URLs and paths are never opened. Errors are `application/problem+json` and name
the field, the cause and what to change.

Any request may name its caller in the header `lrm-client` (its address stands for it otherwise),
among whom the engine takes turns, and its `lrm-priority`: `interactive` for a robot, which is
answered before `batch`, the default.
"""
_REF: Final = "#/components/schemas/{model}"


def http_app(
    calls: Calls,
    health: Health,
    metrics: Metrics,
    check: TokenCheck,
    *,
    max_requests: int = 1024,
) -> FastAPI:
    """The application; it starts and stops nothing.

    Args:
        calls: what the routes call.
        health: whether the server can answer.
        metrics: which count the requests.
        check: of the token.
        max_requests: most requests in flight; those beyond it are refused as overload.
    """
    app = FastAPI(
        title="lrm",
        summary="Robot reward models, served",
        description=DESCRIPTION,
        version=__version__,
        separate_input_output_schemas=False,
        redoc_url=None,
        responses={"default": {"model": ProblemBody, "description": "An error"}},
    )
    app.state.lrm = HttpState(calls, health, metrics)
    ours = (routes_score, routes_episodes, routes_trajectories, routes_server)
    vllr = (routes_tasks, routes_runs)
    for routes in (*ours, *vllr, lrm, robometer, chat):
        app.include_router(routes.router)
    add_error_handlers(app)
    # The one that is added last is passed first.
    trajectory = BodyLimit(calls.limits.trajectory.max_bytes, "max_trajectory_mib")
    app.add_middleware(
        BodyLimited,
        limit=BodyLimit(calls.limits.message, "max_message_mib"),
        by_path={routes_trajectories.router.prefix: trajectory},
    )
    app.add_middleware(RunNamed)
    app.add_middleware(CallerNamed)
    app.add_middleware(RequestsLimited, most=max_requests, seconds=calls.limits.seconds)
    app.add_middleware(TokenRequired, check=check)
    app.add_middleware(Observed, metrics=metrics)
    app.openapi = lambda: _openapi(app, check)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI, check: TokenCheck) -> dict[str, Any]:
    """FastAPI's document, with what the routes do that FastAPI does not see."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            separate_input_output_schemas=False,
        )
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        # Routes that take forms read their bodies themselves.
        for body in (QueryBody, TrajectoryBody):
            schema = body.model_json_schema(ref_template=_REF)
            schemas.update(schema.pop("$defs", {}))
            schemas[body.__name__] = schema
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _problems(operation, MEDIA_TYPE if not is_drop_in(path) else None)
                if path not in OPEN_PATHS:
                    operation["security"] = [{"token": []}] if check.required else []
        app.openapi_schema = document
    return app.openapi_schema


def _problems(operation: dict[str, Any], media_type: str | None) -> None:
    """Errors have a media type of their own where they are problems; none is FastAPI's 422."""
    responses = operation["responses"]
    responses.pop("422", None)
    for status, response in responses.items():
        content = response.get("content", {})
        if media_type and not status.startswith("2") and "application/json" in content:
            content[media_type] = content.pop("application/json")
