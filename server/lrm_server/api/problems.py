"""The one table of errors: what each code is on gRPC, on HTTP and in words."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from grpc import StatusCode as Status

from lrm_server.errors import DomainError, ErrorCode

PROBLEM_TYPE_PREFIX: Final = "urn:lrm:problem:"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one code is told on each transport."""

    grpc: Status
    http: int
    title: str


TABLE: Final[Mapping[ErrorCode, Standing]] = {
    ErrorCode.INVALID_ARGUMENT: Standing(Status.INVALID_ARGUMENT, 400, "The request is wrong"),
    ErrorCode.UNKNOWN_HEAD: Standing(Status.NOT_FOUND, 404, "No head of this name is served"),
    ErrorCode.IMAGE_UNDECODABLE: Standing(
        Status.INVALID_ARGUMENT, 400, "The image cannot be decoded"
    ),
    ErrorCode.IMAGE_TOO_LARGE: Standing(Status.INVALID_ARGUMENT, 413, "The image is over a limit"),
    ErrorCode.LABEL_SET_TOO_LARGE: Standing(
        Status.INVALID_ARGUMENT, 400, "The head has more labels than can be read"
    ),
    ErrorCode.FRAME_REQUIRED: Standing(
        Status.FAILED_PRECONDITION, 409, "A step that is due needs its frame"
    ),
    ErrorCode.STEP_BEHIND: Standing(
        Status.FAILED_PRECONDITION, 409, "The step is behind the episode's clock"
    ),
    ErrorCode.EPISODE_NOT_FOUND: Standing(Status.NOT_FOUND, 404, "No episode of this id is open"),
    ErrorCode.EPISODE_ENDED: Standing(
        Status.FAILED_PRECONDITION, 409, "The episode took its final step"
    ),
    ErrorCode.EPISODE_EXISTS: Standing(
        Status.ALREADY_EXISTS, 409, "The id belongs to another episode"
    ),
    ErrorCode.LABEL_MASS_LOW: Standing(
        Status.INTERNAL, 502, "The model was not answering the question"
    ),
    ErrorCode.ANSWER_UNPARSABLE: Standing(
        Status.INTERNAL, 502, "The model's answer cannot be read"
    ),
    ErrorCode.ANSWER_NOT_REACHED: Standing(
        Status.INTERNAL, 502, "The model did not come to its answer"
    ),
    ErrorCode.COMPONENT_FAILED: Standing(
        Status.INTERNAL, 502, "A part of the composite head failed"
    ),
    ErrorCode.TASK_NOT_DECOMPOSED: Standing(
        Status.INTERNAL, 502, "No subtasks could be made of the task"
    ),
    ErrorCode.RUN_NOT_FOUND: Standing(Status.NOT_FOUND, 404, "No run of this id is open"),
    # Waiting does not help, as it would after 429: only the run's state, which its caller
    # may change, stands against the query.
    ErrorCode.WARM_UP_OVER: Standing(
        Status.FAILED_PRECONDITION, 409, "The run has asked all its queries"
    ),
    ErrorCode.OVERLOADED: Standing(Status.RESOURCE_EXHAUSTED, 429, "The server is full"),
    ErrorCode.DEADLINE_EXCEEDED: Standing(Status.DEADLINE_EXCEEDED, 504, "No answer in time"),
    ErrorCode.UNAVAILABLE: Standing(Status.UNAVAILABLE, 503, "The server cannot answer now"),
    ErrorCode.UNAUTHENTICATED: Standing(
        Status.UNAUTHENTICATED, 401, "The token is missing or wrong"
    ),
    ErrorCode.INTERNAL: Standing(Status.INTERNAL, 500, "The server failed"),
}


def problem_json(error: DomainError, status: int | None = None) -> dict[str, Any]:
    """The problem+json object (RFC 9457) of an error.

    Args:
        error: what went wrong.
        status: HTTP status, where it is more exact than the table's.
    """
    standing = TABLE[error.code]
    body: dict[str, Any] = {
        "type": f"{PROBLEM_TYPE_PREFIX}{error.code.value}",
        "title": standing.title,
        "status": status or standing.http,
        "detail": error.message,
        "code": error.code.value,
    }
    if error.field:
        body["field"] = error.field
    if error.step is not None:
        body["step"] = error.step
    if error.retry_after_seconds is not None:
        body["retry_after_seconds"] = error.retry_after_seconds
    return body


def internal_error(error: BaseException, **where: object) -> DomainError:
    """The INTERNAL error that a caller sees of an exception that nobody expected.

    The exception is logged with its traceback under an id, and the caller is told
    the id and nothing else.
    """
    incident = uuid.uuid4().hex[:12]
    _log.error("internal error", incident=incident, exc_info=error, **where)
    return DomainError(
        ErrorCode.INTERNAL,
        f"the server failed; its log tells more under incident {incident}.",
    )
