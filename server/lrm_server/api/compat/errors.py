"""Errors in the form that each project's client expects, on that project's paths.

LRM's service answers 500 with ``{"success": false, "error": ...}`` whatever went wrong,
Robometer's is a FastAPI application (``{"detail": ...}``), and OpenAI's errors are objects.
No form has room for a value beside an error.
"""

from __future__ import annotations

from typing import Any, Final

from lrm_server.api.problems import TABLE
from lrm_server.errors import DomainError, ErrorCode

LRM: Final = "/compat/lrm"
ROBOMETER: Final = "/compat/robometer"
CHAT: Final = "/v1/chat/completions"
MODEL_NOT_FOUND: Final = "model_not_found"
"""OpenAI's code of a model that is not served; the path itself is always there."""

_KINDS: Final = {
    401: "authentication_error",
    429: "rate_limit_error",
}


def is_drop_in(path: str) -> bool:
    """Whether a path answers another project's client, which cannot be told to come back."""
    return path == CHAT or _within(path, LRM) or _within(path, ROBOMETER)


def compatible(path: str, error: DomainError, status: int | None) -> tuple[dict[str, Any], int]:
    """The body and the HTTP status of an error on a drop-in path.

    Args:
        path: of the request; ``is_drop_in`` holds.
        error: what went wrong.
        status: HTTP status where it is more exact than the table's.
    """
    usual = status or TABLE[error.code].http
    if _within(path, LRM):
        # Its clients look at ``success`` alone; who is not let in is told so all the same.
        told = status or (401 if error.code is ErrorCode.UNAUTHENTICATED else 500)
        return lrm_failure(error), told
    if path == CHAT:
        return openai_failure(error, usual), usual
    return {"detail": said(error), "code": error.code.value}, usual


def lrm_failure(error: DomainError) -> dict[str, Any]:
    """As LRM's service fails, with the code of the error beside it; never with a score."""
    return {"success": False, "error": said(error), "code": error.code.value}


def openai_failure(error: DomainError, status: int) -> dict[str, Any]:
    """As OpenAI's interface fails."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.field or None,
            "code": MODEL_NOT_FOUND if status == 404 else error.code.value,
        }
    }


def said(error: DomainError) -> str:
    """An error in one line, its field first."""
    return f"{error.field}: {error.message}" if error.field else error.message


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
