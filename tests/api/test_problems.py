"""The table of errors, and how an error looks on each transport."""

from __future__ import annotations

import grpc
import pytest

from lrm_client.problems import ERROR_OF_CODE
from lrm_server.api.problems import TABLE, internal_error, problem_json
from lrm_server.api.to_wire import problem
from lrm_server.errors import DomainError, ErrorCode

STATUS = grpc.StatusCode
EXPECTED = {
    "invalid_argument": (STATUS.INVALID_ARGUMENT, 400),
    "unknown_head": (STATUS.NOT_FOUND, 404),
    "image_undecodable": (STATUS.INVALID_ARGUMENT, 400),
    "image_too_large": (STATUS.INVALID_ARGUMENT, 413),
    "label_set_too_large": (STATUS.INVALID_ARGUMENT, 400),
    "frame_required": (STATUS.FAILED_PRECONDITION, 409),
    "step_behind": (STATUS.FAILED_PRECONDITION, 409),
    "episode_not_found": (STATUS.NOT_FOUND, 404),
    "episode_ended": (STATUS.FAILED_PRECONDITION, 409),
    "episode_exists": (STATUS.ALREADY_EXISTS, 409),
    "label_mass_low": (STATUS.INTERNAL, 502),
    "answer_unparsable": (STATUS.INTERNAL, 502),
    "answer_not_reached": (STATUS.INTERNAL, 502),
    "component_failed": (STATUS.INTERNAL, 502),
    "task_not_decomposed": (STATUS.INTERNAL, 502),
    "run_not_found": (STATUS.NOT_FOUND, 404),
    "warm_up_over": (STATUS.FAILED_PRECONDITION, 409),
    "overloaded": (STATUS.RESOURCE_EXHAUSTED, 429),
    "deadline_exceeded": (STATUS.DEADLINE_EXCEEDED, 504),
    "unavailable": (STATUS.UNAVAILABLE, 503),
    "unauthenticated": (STATUS.UNAUTHENTICATED, 401),
    "internal": (STATUS.INTERNAL, 500),
}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_its_statuses(code: ErrorCode) -> None:
    standing = TABLE[code]
    assert (standing.grpc, standing.http) == EXPECTED[code.value]
    assert standing.title


@pytest.mark.parametrize("code", ErrorCode)
def test_the_client_knows_every_code(code: ErrorCode) -> None:
    assert code.value in ERROR_OF_CODE


def test_a_problem_tells_everything_that_the_error_holds() -> None:
    error = DomainError(
        ErrorCode.STEP_BEHIND, "behind", field="steps[2].step", step=0, retry_after_seconds=0.0
    )
    assert problem_json(error) == {
        "type": "urn:lrm:problem:step_behind",
        "title": TABLE[ErrorCode.STEP_BEHIND].title,
        "status": 409,
        "detail": "behind",
        "code": "step_behind",
        "field": "steps[2].step",
        "step": 0,
        "retry_after_seconds": 0.0,
    }
    wire = problem(error)
    assert (wire.code, wire.message, wire.field) == ("step_behind", "behind", "steps[2].step")
    assert wire.HasField("step")
    assert wire.HasField("retry_after_seconds")


def test_a_problem_leaves_out_what_the_error_does_not_hold() -> None:
    error = DomainError(ErrorCode.INTERNAL, "broken")
    assert set(problem_json(error)) == {"type", "title", "status", "detail", "code"}
    assert not problem(error).HasField("step")
    assert not problem(error).HasField("retry_after_seconds")


def test_an_internal_error_tells_an_incident_and_not_the_exception() -> None:
    error = internal_error(ValueError("the secret of the house"))
    assert error.code is ErrorCode.INTERNAL
    assert "secret" not in error.message
    assert "incident" in error.message
