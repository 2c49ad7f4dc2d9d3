"""Retries, deadlines, tokens and limits, on both transports and both clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from lrm_client import (
    AsyncRewardClient,
    DeadlineExceeded,
    EpisodeSpec,
    EpisodeStep,
    FrameEncoder,
    InvalidRequest,
    LrmError,
    Overloaded,
    Query,
    Retry,
    RewardClient,
    ServerError,
    Unauthenticated,
    Unavailable,
)
from tests.client.conftest import QUICK
from tests.client.scripted import ScriptedCore, ScriptedError, problem

TASK = "put the cube on the plate"
FRAME = np.zeros((4, 5, 3), np.uint8)
UNAVAILABLE = ScriptedError(grpc.StatusCode.UNAVAILABLE, problem("unavailable", "loading"))
BUSY = ScriptedError(
    grpc.StatusCode.UNAVAILABLE, problem("unavailable", "loading", retry_after_seconds=60.0)
)
BARE = ScriptedError(grpc.StatusCode.UNAVAILABLE)


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request: pytest.FixtureRequest, target: str) -> Iterator[Callable[..., Any]]:
    """Calls a method of a client of either kind, over either transport."""

    def blocking(method: str, *args: Any, settings: Any = None, **options: Any) -> Any:
        with RewardClient(target, **{"retry": QUICK, "timeout": 10.0, **(settings or {})}) as made:
            return getattr(made, method)(*args, **options)

    def asynchronous(method: str, *args: Any, settings: Any = None, **options: Any) -> Any:
        async def go() -> Any:
            defaults = {"retry": QUICK, "timeout": 10.0}
            async with AsyncRewardClient(target, **{**defaults, **(settings or {})}) as made:
                pending: Awaitable[Any] = getattr(made, method)(*args, **options)
                return await pending

        return asyncio.run(go())

    return blocking if request.param == "blocking" else asynchronous


@pytest.mark.parametrize("failure", [UNAVAILABLE, BARE], ids=["problem", "bare status"])
def test_an_unavailable_server_is_tried_again_until_it_answers(
    call: Callable[..., Any], core: ScriptedCore, failure: ScriptedError
) -> None:
    core.fail_next("Score", failure, failure)
    assert call("progress", FRAME, TASK).value == 0.5
    assert core.count("Score") == 3


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_the_attempts_are_counted_exactly(
    call: Callable[..., Any], core: ScriptedCore, attempts: int
) -> None:
    core.fail_next("Score", *[UNAVAILABLE] * 10)
    retry = Retry(attempts=attempts, initial_seconds=0.001, maximum_seconds=0.002)
    with pytest.raises(Unavailable):
        call("progress", FRAME, TASK, settings={"retry": retry})
    assert core.count("Score") == attempts


def test_the_last_cause_is_told(call: Callable[..., Any], core: ScriptedCore) -> None:
    core.fail_next("Score", *[UNAVAILABLE] * 10)
    with pytest.raises(Unavailable, match="loading"):
        call("progress", FRAME, TASK)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", Unauthenticated),
        (grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument", InvalidRequest),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded", DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, "internal", ServerError),
    ],
)
@pytest.mark.parametrize("bare", [False, True], ids=["problem", "bare status"])
def test_other_failures_are_not_tried_again(
    call: Callable[..., Any],
    core: ScriptedCore,
    status: grpc.StatusCode,
    code: str,
    error: type[LrmError],
    bare: bool,
) -> None:
    core.fail_next("Score", ScriptedError(status, None if bare else problem(code)))
    with pytest.raises(error) as failed:
        call("progress", FRAME, TASK)
    assert failed.value.code == code
    assert core.count("Score") == 1


def test_an_overload_says_how_long_to_wait(call: Callable[..., Any], core: ScriptedCore) -> None:
    busy = problem("overloaded", "queue full", retry_after_seconds=60.0)
    core.fail_next("Score", ScriptedError(grpc.StatusCode.RESOURCE_EXHAUSTED, busy))
    with pytest.raises(Overloaded, match="queue full") as failed:
        call("progress", FRAME, TASK)
    assert failed.value.retry_after_seconds == 60.0
    assert core.count("Score") == 1


@pytest.mark.parametrize("hint", [None, 0.001], ids=["bare", "hint"])
def test_a_full_server_is_tried_again(
    call: Callable[..., Any], core: ScriptedCore, hint: float | None
) -> None:
    busy = None if hint is None else problem("overloaded", "full", retry_after_seconds=hint)
    core.fail_next("Score", *[ScriptedError(grpc.StatusCode.RESOURCE_EXHAUSTED, busy)] * 2)
    assert call("progress", FRAME, TASK).value == 0.5
    assert core.count("Score") == 3


def test_a_large_request_is_tried_again_as_a_small_one_is(
    call: Callable[..., Any], core: ScriptedCore
) -> None:
    large = np.zeros((1024, 1024, 3), np.uint8)
    core.fail_next("Score", UNAVAILABLE)
    assert call("progress", large, TASK, settings={"encoder": FrameEncoder("raw")}).value == 0.5
    assert core.count("Score") == 2


def test_a_retry_repeats_the_same_bytes(call: Callable[..., Any], core: ScriptedCore) -> None:
    """Ids are made once per call, so that the server can tell a retry."""
    core.fail_next("OpenEpisodes", UNAVAILABLE)
    call("open_episodes", [EpisodeSpec(TASK, ["progress"])])
    first, second = [request for name, request in core.requests if name == "OpenEpisodes"]
    assert first == second
    assert first.episodes[0].id

    core.fail_next("StepEpisodes", UNAVAILABLE)
    call("step_episodes", [EpisodeStep(first.episodes[0].id, 0, FRAME)])
    first, second = [request for name, request in core.requests if name == "StepEpisodes"]
    assert first == second
    assert first.steps[0].request_id


def test_a_call_ends_at_its_deadline(call: Callable[..., Any], core: ScriptedCore) -> None:
    released = threading.Event()
    core.fail_next("Score", lambda: released.wait(20) and None)
    try:
        with pytest.raises(DeadlineExceeded):
            call("progress", FRAME, TASK, timeout=0.1)
    finally:
        released.set()
    assert core.count("Score") == 1


def test_a_wait_beyond_the_deadline_is_not_begun(
    call: Callable[..., Any], core: ScriptedCore
) -> None:
    core.fail_next("Score", *[BUSY] * 10)
    with pytest.raises(Unavailable, match="loading"):
        call("progress", FRAME, TASK, timeout=5.0)
    assert core.count("Score") == 1


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan")])
def test_a_deadline_is_finite_and_positive(
    call: Callable[..., Any], core: ScriptedCore, timeout: float
) -> None:
    with pytest.raises(ValueError, match="timeout"):
        call("models", timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        call("models", settings={"timeout": timeout})
    assert core.requests == []


def test_the_token_travels_with_every_call(call: Callable[..., Any], core: ScriptedCore) -> None:
    call("models", settings={"token": "s3cret"})
    assert core.metadata[-1]["authorization"] == "Bearer s3cret"
    call("models")
    assert "authorization" not in core.metadata[-1]


def test_a_request_over_the_limit_is_not_sent(call: Callable[..., Any], core: ScriptedCore) -> None:
    settings = {"max_message_bytes": 10_000, "encoder": FrameEncoder("raw")}
    with pytest.raises(InvalidRequest, match="limit is 10000") as refused:
        call("progress", np.zeros((100, 100, 3), np.uint8), TASK, settings=settings)
    assert refused.value.field == "frames"
    assert core.requests == []


def test_a_response_over_the_limit_is_an_error(call: Callable[..., Any]) -> None:
    with pytest.raises(LrmError, match=r"limit|larger than max"):
        call("models", settings={"max_message_bytes": 64})


def test_no_server_is_unavailable() -> None:
    for target in ("127.0.0.1:9", "http://127.0.0.1:9"):
        with RewardClient(target, retry=QUICK, timeout=5.0) as client:
            with pytest.raises(Unavailable):
                client.models()
            with pytest.raises(Unavailable):
                client.step_episodes([EpisodeStep(f"e{at}", 0, FRAME) for at in range(3)])


def test_a_closed_client_says_so(target: str) -> None:
    client = RewardClient(target)
    client.models()
    client.close()
    client.close()
    with pytest.raises(Unavailable, match="closed"):
        client.models()


async def test_a_closed_asynchronous_client_says_so(target: str) -> None:
    client = AsyncRewardClient(target)
    await client.models()
    await client.close()
    await client.close()
    with pytest.raises(Unavailable, match="closed"):
        await client.models()


async def test_calls_of_one_client_run_at_once(target: str, core: ScriptedCore) -> None:
    both = threading.Barrier(2)
    core.fail_next("Score", *[lambda: both.wait(10) and None] * 2)
    async with AsyncRewardClient(target, timeout=10.0) as client:
        query = Query("progress", TASK, current=FRAME)
        replies = await asyncio.gather(client.score(query), client.score(query))
    assert [reply.value for reply in replies] == [0.5, 0.5]


def test_the_representation_shows_no_token() -> None:
    with RewardClient("127.0.0.1:9", token="s3cret") as client:  # noqa: S106
        assert repr(client) == "RewardClient('127.0.0.1:9')"
        assert "s3cret" not in repr(vars(client))
