"""Domain errors: one type, one list of codes.

The core raises these and knows no transport; ``lrm_server.api.problems`` maps
each code to a gRPC status and an HTTP status.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class ErrorCode(str, Enum):
    """What went wrong, as a stable name that travels on both wires."""

    INVALID_ARGUMENT = "invalid_argument"
    UNKNOWN_HEAD = "unknown_head"
    IMAGE_UNDECODABLE = "image_undecodable"
    IMAGE_TOO_LARGE = "image_too_large"
    LABEL_SET_TOO_LARGE = "label_set_too_large"
    FRAME_REQUIRED = "frame_required"
    STEP_BEHIND = "step_behind"
    EPISODE_NOT_FOUND = "episode_not_found"
    EPISODE_ENDED = "episode_ended"
    EPISODE_EXISTS = "episode_exists"
    LABEL_MASS_LOW = "label_mass_low"
    ANSWER_UNPARSABLE = "answer_unparsable"
    ANSWER_NOT_REACHED = "answer_not_reached"
    COMPONENT_FAILED = "component_failed"
    TASK_NOT_DECOMPOSED = "task_not_decomposed"
    RUN_NOT_FOUND = "run_not_found"
    WARM_UP_OVER = "warm_up_over"
    OVERLOADED = "overloaded"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    UNAVAILABLE = "unavailable"
    UNAUTHENTICATED = "unauthenticated"
    INTERNAL = "internal"


class DomainError(Exception):
    """A failure with a code, the field at fault, the cause and what to change.

    Attributes:
        code: what went wrong.
        message: the cause and what to change, for a person.
        field: the field of the request that is wrong, or "".
        step: for FRAME_REQUIRED and STEP_BEHIND, the step the clock wants next.
        retry_after_seconds: for OVERLOADED, how long to wait.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        field: str = "",
        step: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.step = step
        self.retry_after_seconds = retry_after_seconds

    def within(self, path: str) -> DomainError:
        """The same error with its field named from further out: ``queries[3]`` + ``task``.

        Where what lies further out has no name (""), the error itself.
        """
        if not path:
            return self
        field = f"{path}.{self.field}" if self.field else path
        return DomainError(
            self.code,
            self.message,
            field=field,
            step=self.step,
            retry_after_seconds=self.retry_after_seconds,
        )


@contextmanager
def named(path: str) -> Iterator[None]:
    """Names what lies further out in the errors of the block, as ``DomainError.within`` does."""
    try:
        yield
    except DomainError as error:
        raise error.within(path) from error.__cause__


def invalid(field: str, message: str) -> DomainError:
    """An INVALID_ARGUMENT error of ``field``."""
    return DomainError(ErrorCode.INVALID_ARGUMENT, message, field=field)
