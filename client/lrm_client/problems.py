"""From a problem on the wire, a status or a broken connection to an exception."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc
import httpx
from google.protobuf.message import DecodeError

from lrm_client import errors
from lrm_client.errors import LrmError
from lrm_client.wire.reward_pb2 import Problem

PROBLEM_METADATA_KEY: Final = "lrm-problem-bin"
"""Trailing metadata that carries the serialised Problem of a call that failed as a whole."""

ERROR_OF_CODE: Final[dict[str, type[LrmError]]] = {
    "invalid_argument": errors.InvalidRequest,
    "image_undecodable": errors.InvalidRequest,
    "image_too_large": errors.InvalidRequest,
    "label_set_too_large": errors.InvalidRequest,
    "unknown_head": errors.UnknownHead,
    "frame_required": errors.FrameRequired,
    "step_behind": errors.StepBehind,
    "episode_not_found": errors.EpisodeNotFound,
    "episode_ended": errors.EpisodeEnded,
    "episode_exists": errors.EpisodeExists,
    "label_mass_low": errors.ModelError,
    "answer_unparsable": errors.ModelError,
    "answer_not_reached": errors.ModelError,
    "component_failed": errors.ModelError,
    "task_not_decomposed": errors.ModelError,
    "run_not_found": errors.RunNotFound,
    "warm_up_over": errors.WarmUpOver,
    "overloaded": errors.Overloaded,
    "deadline_exceeded": errors.DeadlineExceeded,
    "unavailable": errors.Unavailable,
    "unauthenticated": errors.Unauthenticated,
    "internal": errors.ServerError,
}

CODE_OF_GRPC_STATUS: Final[dict[grpc.StatusCode, str]] = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid_argument",
    grpc.StatusCode.OUT_OF_RANGE: "invalid_argument",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "overloaded",
    grpc.StatusCode.DEADLINE_EXCEEDED: "deadline_exceeded",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
    grpc.StatusCode.CANCELLED: "unavailable",
    grpc.StatusCode.ABORTED: "unavailable",
    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
    grpc.StatusCode.PERMISSION_DENIED: "unauthenticated",
}
"""For a status without a Problem, from a proxy or from gRPC itself; others are internal."""

CODE_OF_HTTP_STATUS: Final[dict[int, str]] = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "unauthenticated",
    408: "deadline_exceeded",
    413: "invalid_argument",
    422: "invalid_argument",
    429: "overloaded",
    502: "unavailable",
    503: "unavailable",
    504: "deadline_exceeded",
}
"""For a response without a problem body, from a proxy; others are internal."""

CALL_CODES: Final = frozenset(
    {"overloaded", "deadline_exceeded", "unavailable", "unauthenticated", "internal"}
)
"""Codes that speak of a call rather than of one item in it."""


def error_from_problem(problem: Problem) -> LrmError:
    """The exception of a Problem. A code that is not known here is a ServerError."""
    kind = ERROR_OF_CODE.get(problem.code, errors.ServerError)
    message = problem.message or problem.code or "the server named no cause"
    step = problem.step if problem.HasField("step") else None
    wait = problem.retry_after_seconds if problem.HasField("retry_after_seconds") else None
    code = problem.code or None
    if issubclass(kind, errors.InvalidRequest):
        return kind(message, code=code, field=problem.field)
    if issubclass(kind, errors.FrameRequired | errors.StepBehind):
        return kind(message, code=code, step=step)
    if issubclass(kind, errors.Overloaded):
        return kind(message, code=code, retry_after_seconds=wait)
    return kind(message, code=code)


def problem_from_rpc(error: grpc.RpcError) -> Problem:
    """The Problem of a gRPC call that failed as a whole."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return Problem(code="internal", message=f"the call failed without a status: {error!r}")
    problem = _attached_problem(error.trailing_metadata() or ())
    if problem is not None:
        return problem
    status, details = error.code(), error.details() or "no details"
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        message = (
            f"a message is over its limit ({details}): send fewer frames in one call, send "
            "them as jpeg, or raise max_message_bytes here and on the server"
        )
        return Problem(code="invalid_argument", field="frames", message=message)
    code = CODE_OF_GRPC_STATUS.get(status, "internal")
    return Problem(code=code, message=f"{status.name}: {details}")


def problem_from_response(status: int, headers: httpx.Headers, body: Any) -> Problem:
    """The Problem of an HTTP response that is no success; ``body`` is its JSON, or text."""
    wait = _seconds(headers.get("retry-after"))
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        text = body if isinstance(body, str) else repr(body)
        code = CODE_OF_HTTP_STATUS.get(status, "internal")
        problem = Problem(code=code, message=f"HTTP {status}: {text[:500] or 'no body'}")
        if wait is not None:
            problem.retry_after_seconds = wait
        return problem
    return problem_from_json(body, wait)


def problem_from_json(body: dict[str, Any], wait: float | None = None) -> Problem:
    """The Problem of a problem+json body, or of an ``error`` within a result."""
    problem = Problem(
        code=str(body.get("code", "")),
        field=str(body.get("field") or ""),
        message=str(body.get("detail") or body.get("message") or body.get("title") or ""),
    )
    if body.get("step") is not None:
        problem.step = int(body["step"])
    wait = wait if body.get("retry_after_seconds") is None else float(body["retry_after_seconds"])
    if wait is not None:
        problem.retry_after_seconds = wait
    return problem


def problem_from_httpx(error: httpx.HTTPError) -> Problem:
    """The Problem of an HTTP exchange that brought no response."""
    timed_out = isinstance(error, httpx.TimeoutException)
    detail = str(error) or type(error).__name__
    if timed_out:
        return Problem(code="deadline_exceeded", message=f"no answer in time: {detail}")
    if isinstance(error, httpx.TransportError):
        return Problem(code="unavailable", message=f"the server cannot be reached: {detail}")
    return Problem(code="internal", message=f"the HTTP exchange failed: {detail}")


def _attached_problem(metadata: Iterable[Any]) -> Problem | None:
    """The Problem in a call's trailing metadata, of (key, value) pairs."""
    for key, value in metadata:
        if key == PROBLEM_METADATA_KEY:
            try:
                return Problem.FromString(value)
            except (DecodeError, TypeError):
                return None
    return None


def _seconds(header: str | None) -> float | None:
    """A Retry-After header in seconds; None where it is absent or a date."""
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None
