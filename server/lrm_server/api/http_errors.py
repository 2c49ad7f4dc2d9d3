"""Every HTTP error as problem+json; on drop-in paths in the form of that project."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from lrm_server.api.compat.errors import compatible, is_drop_in
from lrm_server.api.problems import problem_json
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.ops.metrics import CANCELLED

MEDIA_TYPE: Final = "application/problem+json"
CODE_KEY: Final = "lrm.code"
"""Where a request's scope keeps the code of its error, for those who count."""
CLIENT_CLOSED: Final = 499
MOST_NAMED: Final = 5
"""How many wrong fields one error names."""
LONGEST_PATH: Final = 200
_PLACES: Final = ("body", "query", "path", "header")


class CallerGone(Exception):  # noqa: N818 - nothing went wrong here
    """The caller closed its connection; nobody reads the answer."""


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """How many bytes a body may have, and which setting says so."""

    bytes: int
    setting: str


class BodyTooLarge(HTTPException):
    """More came than a request may bring."""

    def __init__(self, limit: BodyLimit) -> None:
        super().__init__(413)
        self.error = invalid(
            "frames",
            f"the request is over the limit of {limit.bytes} bytes: send fewer frames in one "
            f"request, send them as jpeg, or raise {limit.setting} on the server.",
        )


def problem_response(
    scope: Any, error: DomainError, status: int | None = None, headers: Mapping[str, str] = {}
) -> JSONResponse:
    """The response of an error in the form of its path; ``status`` where it is more exact.

    The form is a problem's, and on drop-in paths that project's.
    """
    scope[CODE_KEY] = error.code.value
    path = scope["path"]
    if is_drop_in(path):
        body, told = compatible(path, error, status)
        media = "application/json"
    else:
        body = problem_json(error, status)
        told, media = body["status"], MEDIA_TYPE
    extra = dict(headers)
    if error.retry_after_seconds is not None:
        extra["retry-after"] = str(math.ceil(error.retry_after_seconds))
    if error.code is ErrorCode.UNAUTHENTICATED:
        extra["www-authenticate"] = "Bearer"
    return JSONResponse(body, told, extra, media_type=media)


def refusal_of(error: ValidationError | RequestValidationError) -> DomainError:
    """INVALID_ARGUMENT naming the first wrong field, and in words the next few."""
    wrong = error.errors()
    named = [f"{field_path(item['loc'])}: {_said(item)}" for item in wrong[:MOST_NAMED]]
    more = len(wrong) - len(named)
    message = "; ".join(named) + (f"; and {more} more" if more > 0 else "")
    return invalid(field_path(wrong[0]["loc"]) if wrong else "", message)


def field_path(location: Sequence[str | int]) -> str:
    """``("body", "queries", 3, "current")`` as ``queries[3].current``."""
    parts = list(location)
    if parts and parts[0] in _PLACES:
        parts = parts[1:]
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    # A name may be the caller's own, of any length and with halves of characters.
    return path[:LONGEST_PATH].encode("utf-8", "replace").decode()


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error that a route can raise a problem."""

    async def domain(request: Request, error: Exception) -> Response:
        assert isinstance(error, DomainError)  # noqa: S101 - by its registration
        return problem_response(request.scope, error)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return problem_response(request.scope, refusal_of(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        if isinstance(error, BodyTooLarge):
            return problem_response(request.scope, error.error, error.status_code)
        told = invalid("", f"{request.method} {request.url.path}: {error.detail}; see /docs.")
        return problem_response(request.scope, told, error.status_code, error.headers or {})

    async def gone(request: Request, error: Exception) -> Response:
        request.scope[CODE_KEY] = CANCELLED
        return Response(status_code=CLIENT_CLOSED)

    app.add_exception_handler(DomainError, domain)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(CallerGone, gone)


def _said(item: Mapping[str, Any]) -> str:
    if item["type"] == "json_invalid":
        return f"the body is not JSON ({item.get('ctx', {}).get('error', 'unreadable')})"
    if item["type"] == "extra_forbidden":
        return "no such field; see /docs"
    return str(item["msg"])
