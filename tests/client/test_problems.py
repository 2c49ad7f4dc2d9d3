"""Every code, status and broken connection has its exception."""

from __future__ import annotations

import inspect
import pickle

import grpc
import httpx
import pytest

from lrm_client import errors
from lrm_client.errors import LrmError
from lrm_client.problems import (
    CALL_CODES,
    CODE_OF_GRPC_STATUS,
    CODE_OF_HTTP_STATUS,
    ERROR_OF_CODE,
    error_from_problem,
    problem_from_httpx,
    problem_from_json,
    problem_from_response,
    problem_from_rpc,
)
from lrm_client.wire.reward_pb2 import Problem

CODES = {
    "invalid_argument": errors.InvalidRequest,
    "unknown_head": errors.UnknownHead,
    "image_undecodable": errors.InvalidRequest,
    "image_too_large": errors.InvalidRequest,
    "label_set_too_large": errors.InvalidRequest,
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


class BrokenCall(grpc.RpcError, grpc.Call):
    """A call that ended with a status."""

    def __init__(self, status: grpc.StatusCode, details: str, metadata: tuple = ()) -> None:
        self._ended = status, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._ended[0]

    def details(self) -> str:
        return self._ended[1]

    def trailing_metadata(self) -> tuple:
        return self._ended[2]

    initial_metadata = add_callback = cancel = is_active = time_remaining = trailing_metadata


def test_the_table_has_every_code_and_no_other() -> None:
    assert ERROR_OF_CODE == CODES
    assert set(CODES) > CALL_CODES
    assert set(CODE_OF_GRPC_STATUS.values()) | set(CODE_OF_HTTP_STATUS.values()) < set(CODES)


def test_every_exception_is_drawn_in_the_docstring_and_reached_by_a_code() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, LrmError) and kind is not LrmError
    }
    assert {kind for kind in kinds if f"── {kind.__name__} " in (errors.__doc__ or "")} == kinds
    assert kinds - set(CODES.values()) == {errors.RewardsFailed, errors.TrajectoryFailed}


@pytest.mark.parametrize("code", CODES)
def test_a_problem_becomes_its_exception(code: str) -> None:
    wire = Problem(
        code=code, field="frames[0]", message="what to change", step=7, retry_after_seconds=1.5
    )
    error = error_from_problem(wire)
    assert type(error) is CODES[code]
    assert (error.code, error.message, str(error)) == (code, "what to change", "what to change")
    expected = {"field": "frames[0]", "step": 7, "retry_after_seconds": 1.5}
    for name in vars(error).keys() & expected.keys():
        assert getattr(error, name) == expected[name]


@pytest.mark.parametrize("code", CODES)
def test_an_exception_survives_pickling(code: str) -> None:
    error = error_from_problem(Problem(code=code, field="task", message="empty", step=3))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)


def test_a_code_of_a_newer_server_is_a_server_error_that_keeps_its_name() -> None:
    error = error_from_problem(Problem(code="moon_phase", message="full"))
    assert type(error) is errors.ServerError
    assert (error.code, error.message) == ("moon_phase", "full")
    assert error_from_problem(Problem()).message == "the server named no cause"


def test_absent_fields_are_none() -> None:
    behind = error_from_problem(Problem(code="step_behind"))
    busy = error_from_problem(Problem(code="overloaded"))
    assert isinstance(behind, errors.StepBehind)
    assert isinstance(busy, errors.Overloaded)
    assert behind.step is None
    assert busy.retry_after_seconds is None


def test_the_problem_in_the_trailing_metadata_stands_before_the_status() -> None:
    attached = Problem(code="unknown_head", message="heads: progress")
    metadata = (("other", "x"), ("lrm-problem-bin", attached.SerializeToString()))
    assert problem_from_rpc(BrokenCall(grpc.StatusCode.NOT_FOUND, "", metadata)) == attached


def test_metadata_that_is_no_problem_leaves_the_status() -> None:
    call = BrokenCall(grpc.StatusCode.UNAVAILABLE, "away", (("lrm-problem-bin", b"\xff\xff"),))
    assert problem_from_rpc(call) == Problem(code="unavailable", message="UNAVAILABLE: away")


@pytest.mark.parametrize("status", [s for s in grpc.StatusCode if s is not grpc.StatusCode.OK])
def test_every_bare_grpc_status_has_a_code(status: grpc.StatusCode) -> None:
    found = problem_from_rpc(BrokenCall(status, "details"))
    assert found.code == CODE_OF_GRPC_STATUS.get(status, "internal")
    assert found.message == f"{status.name}: details"


def test_a_message_over_grpcs_limit_is_an_invalid_request_and_no_overload() -> None:
    details = "CLIENT: Received message larger than max (70000000 vs. 67108864)"
    error = error_from_problem(
        problem_from_rpc(BrokenCall(grpc.StatusCode.RESOURCE_EXHAUSTED, details))
    )
    assert isinstance(error, errors.InvalidRequest)
    assert error.field == "frames"
    assert "67108864" in error.message


def test_an_rpc_error_without_a_status_is_internal() -> None:
    assert problem_from_rpc(grpc.RpcError("odd")).code == "internal"


def test_a_problem_body_is_read_whole() -> None:
    body = {
        "type": "urn:lrm:problem:step_behind",
        "title": "step behind",
        "status": 409,
        "detail": "step 2 is behind",
        "code": "step_behind",
        "field": "step",
        "step": 5,
        "retry_after_seconds": 0.5,
    }
    assert problem_from_json(body) == Problem(
        code="step_behind",
        field="step",
        message="step 2 is behind",
        step=5,
        retry_after_seconds=0.5,
    )


@pytest.mark.parametrize(
    ("status", "code"), [*CODE_OF_HTTP_STATUS.items(), (404, "internal"), (500, "internal")]
)
def test_a_bare_http_status_has_a_code(status: int, code: str) -> None:
    headers = httpx.Headers({"retry-after": "2"})
    for body in ("<html>gateway</html>", {"detail": "Not Found"}, [], ""):
        found = problem_from_response(status, headers, body)
        assert found.code == code
        assert found.message.startswith(f"HTTP {status}: ")
        assert found.retry_after_seconds == 2.0


@pytest.mark.parametrize("header", [None, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_date_is_no_hint(header: str | None) -> None:
    headers = httpx.Headers({} if header is None else {"retry-after": header})
    assert not problem_from_response(503, headers, "").HasField("retry_after_seconds")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (httpx.ConnectError("refused"), "unavailable"),
        (httpx.RemoteProtocolError("dropped"), "unavailable"),
        (httpx.ConnectTimeout("slow"), "deadline_exceeded"),
        (httpx.ReadTimeout("slow"), "deadline_exceeded"),
        (httpx.DecodingError("gzip"), "internal"),
    ],
)
def test_an_exchange_without_a_response_has_a_code(error: httpx.HTTPError, code: str) -> None:
    assert problem_from_httpx(error).code == code


def test_rewards_failed_counts_environments_and_names_them() -> None:
    cause = errors.ModelError("0.01", code="label_mass_low")
    failures = [
        errors.FailedReward(0, "a", 3, "progress", cause),
        errors.FailedReward(4, "b", 9, "progress", cause),
        errors.FailedReward(4, "b", 9, "tri", cause),
    ]
    error = errors.RewardsFailed(failures)
    assert str(error).startswith("no reward for 2 environments: environment 0 (episode a, step 3")
    assert "environment 4 (episode b, step 9, tri): label_mass_low: 0.01" in str(error)
    assert error.code == "rewards_failed"
