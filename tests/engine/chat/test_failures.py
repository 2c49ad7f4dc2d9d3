"""An endpoint that is down, slow, busy or answers garbage: an error of that query, soon."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable
from email.utils import formatdate

import pytest

from lrm_server.engine.chat import endpoint as endpoint_module
from lrm_server.engine.chat.endpoint import MAX_ANSWER_BYTES, Endpoint
from lrm_server.engine.protocol import FrameSlot, VideoSlot
from lrm_server.errors import DomainError, ErrorCode
from tests.engine.chat.cut_jpeg import cut_jpeg
from tests.engine.chat.forms import COMPLETION, question
from tests.engine.chat.scripted_endpoint import (
    KEY,
    Reply,
    ScriptedEndpoint,
    completion,
    engine_on,
    in_turn,
)
from tests.heads.scripted_engine import grey

FINE = completion('{ "task_completed": "yes" }')
BUSY = Reply(b'{"error": {"message": "slow down"}}', 429)
BROKEN = Reply(b"<html><h1>Bad gateway</h1></html>", 502, {"content-type": "text/html"})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "FIRST_WAIT_S", 0.01)


async def failure(asking: Awaitable[object]) -> DomainError:
    with pytest.raises(DomainError) as error:
        await asking
    assert KEY not in error.value.message
    return error.value


async def failed_by(*replies: Reply, seconds: float | None = None) -> DomainError:
    """The error of a question that gets these replies."""
    async with (
        ScriptedEndpoint(in_turn(replies)).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        deadline = None if seconds is None else time.monotonic() + seconds
        return await failure(engine.generate(question(COMPLETION, deadline=deadline)))


@pytest.mark.parametrize("passing", [BUSY, BROKEN, Reply(b"", 503), Reply(b"", 408)])
async def test_what_passes_is_tried_again(passing: Reply) -> None:
    script = in_turn([passing, passing, FINE])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        written = await engine.generate(question(COMPLETION))
    assert written.text == '{ "task_completed": "yes" }'
    assert len(endpoint.asked) == 3


async def test_a_lost_connection_is_tried_again() -> None:
    script = in_turn([Reply(b'{"cho', length=400), FINE])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        written = await engine.generate(question(COMPLETION))
    assert written.complete
    assert len(endpoint.asked) == 2


async def test_the_endpoint_says_when_it_wants_to_be_asked_again() -> None:
    script = in_turn([Reply(b"", 429, {"retry-after-ms": "300"}), FINE])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        began = time.monotonic()
        written = await engine.generate(question(COMPLETION))
        assert time.monotonic() - began >= 0.3
    assert written.timings.queue_ms >= 300


async def test_failures_until_the_deadline_are_told_as_what_they_are() -> None:
    error = await failed_by(BROKEN, seconds=3.0)
    assert error.code is ErrorCode.UNAVAILABLE
    assert "502" in error.message


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_rate_limit_beyond_the_deadline_is_overload_with_its_hint(as_date: bool) -> None:
    value = formatdate(time.time() + 3600, usegmt=True) if as_date else "3600"
    error = await failed_by(Reply(BUSY.body, 429, {"retry-after": value}), seconds=30.0)
    assert error.code is ErrorCode.OVERLOADED
    assert error.retry_after_seconds == pytest.approx(3600, abs=60)
    assert "slow down" in error.message


async def test_an_endpoint_that_is_down_is_unavailable() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = ScriptedEndpoint(in_turn([FINE]))
        endpoint.port = reserved.getsockname()[1]
        async with engine_on(endpoint, timeout_seconds=3.0) as engine:
            error = await failure(engine.generate(question(COMPLETION)))
            status = await engine.status()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "ConnectError" in error.message
    assert not status.ready
    assert "cannot be reached" in status.reason


@pytest.mark.parametrize("with_deadline", [True, False])
async def test_a_slow_endpoint_fails_at_the_deadline(with_deadline: bool) -> None:
    slow = Reply(FINE.body, delay=30.0)
    async with (
        ScriptedEndpoint(in_turn([slow])).serving() as endpoint,
        engine_on(endpoint, timeout_seconds=0.3) as engine,
    ):
        deadline = time.monotonic() + 0.3 if with_deadline else None
        error = await failure(engine.generate(question(COMPLETION, deadline=deadline)))
    assert error.code is ErrorCode.DEADLINE_EXCEEDED


async def test_a_cancelled_question_is_taken_from_the_endpoint() -> None:
    endpoint = ScriptedEndpoint(in_turn([Reply(FINE.body, delay=30.0)]))
    async with endpoint.serving(), engine_on(endpoint) as engine:
        asking = asyncio.create_task(engine.generate(question(COMPLETION)))
        while not endpoint.asked:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(10):
            while not endpoint.cut:
                await asyncio.sleep(0.01)
        assert (await engine.status()).running == 0


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(b"<html>hello</html>", headers={"content-type": "text/html"}), "<html>hello"),
        (Reply(FINE.body[:40]), '{"id"'),
        (Reply(b"[" * 100_000), "[[["),
        (Reply(b"{}"), "choices: Field required"),
        (Reply(b'{"choices": []}'), "choices: List should have at least 1"),
        (Reply(b'{"choices": [{"message": {"content": 7}}]}'), "message.content"),
        (Reply(b" " * (MAX_ANSWER_BYTES + 1)), "longer than"),
        (Reply(FINE.body, headers={"content-encoding": "gzip"}), "compressed"),
        (Reply(b"", 307, {"location": "http://127.0.0.1:1/v1"}), "redirects (307)"),
        (Reply(b"", 404), "check remote_url and model"),
        (Reply(f'{{"error": "wrong key {KEY}"}}'.encode(), 401), "LRM_REMOTE_KEY"),
    ],
)
async def test_an_answer_that_is_none_fails_at_once(reply: Reply, told: str) -> None:
    async with (
        ScriptedEndpoint(in_turn([reply])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        error = await failure(engine.generate(question(COMPLETION)))
    assert error.code is ErrorCode.INTERNAL
    assert told in error.message
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    "entry",
    [
        '{"token": "yes", "logprob": 3.0, "top_logprobs": []}',
        '{"token": "yes", "logprob": NaN, "top_logprobs": []}',
        '{"token": "yes", "top_logprobs": []}',
        '{"token": "yes", "logprob": -0.1, "bytes": [300], "top_logprobs": []}',
        '{"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -0.1}]}',
    ],
)
async def test_probabilities_that_are_none_are_no_reward(entry: str) -> None:
    logprobs = f'{{"content": [{entry}]}}'
    body = f'{{"choices": [{{"message": {{"content": "yes"}}, "logprobs": {logprobs}}}]}}'
    script = in_turn([Reply(body.encode())])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        error = await failure(engine.read_forced(question(COMPLETION)))
    assert error.code is ErrorCode.INTERNAL


async def test_what_the_endpoint_refuses_is_told_in_its_words_without_the_key() -> None:
    words = f"the image is too large for {KEY}\n" + "x" * 1000
    error = await failed_by(Reply(words.encode(), 400))
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "the image is too large for [key] xxx" in error.message
    assert len(error.message) < 500


async def test_the_key_goes_to_the_endpoint_and_into_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    script = in_turn([BUSY, FINE])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        await engine.generate(question(COMPLETION))
    assert endpoint.asked[0].headers["authorization"] == f"bearer {KEY}"
    assert "Trying again" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("url", "key", "field"),
    [
        ("ftp://host/v1", None, "remote_url"),
        ("host/v1", None, "remote_url"),
        ("http://user:word@host/v1", None, "remote_url"),
        ("http://host:port/v1", None, "remote_url"),
        ("http://host/v1?key=1", None, "remote_url"),
        ("http://host/v1", "two\nlines", "remote_key"),
        ("http://host/v1", "schlüssel", "remote_key"),
    ],
)
async def test_a_wrong_address_or_key_is_refused_at_the_start(
    url: str, key: str | None, field: str
) -> None:
    with pytest.raises(DomainError) as error:
        Endpoint(url, key, concurrency=1, timeout_seconds=1.0)
    assert error.value.field == field
    assert "word" not in error.value.message
    assert key is None or key not in error.value.message


async def test_questions_beyond_the_limit_are_refused_and_others_wait_their_turn() -> None:
    slow = Reply(FINE.body, delay=0.2)
    async with (
        ScriptedEndpoint(in_turn([slow])).serving() as endpoint,
        engine_on(endpoint, concurrency=2, max_queue=5) as engine,
    ):
        asked = [engine.generate(question(COMPLETION)) for _ in range(6)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, DomainError)]
    assert [error.code for error in errors] == [ErrorCode.OVERLOADED]
    assert len(outcomes) - len(errors) == 5
    assert endpoint.most_at_once == 2
    assert max(each.timings.queue_ms for each in outcomes if not isinstance(each, Exception)) > 100


async def test_a_failing_question_leaves_the_others_alone() -> None:
    def script(asked):
        return Reply(b"", 400) if asked.body["messages"][0]["content"] == "bad" else FINE

    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        bad, good = await asyncio.gather(
            engine.generate(question(COMPLETION, "bad")),
            engine.generate(question(COMPLETION, "good")),
            return_exceptions=True,
        )
    assert isinstance(bad, DomainError)
    assert good.text


@pytest.mark.parametrize("in_video", [False, True])
async def test_a_broken_frame_is_named_and_not_sent(in_video: bool) -> None:
    whole, cut = grey(), cut_jpeg()
    slot = (
        VideoSlot((whole, cut), (0.0, 0.5), ("window[0]", "window[1]"))
        if in_video
        else FrameSlot(cut, "current")
    )
    async with (
        ScriptedEndpoint(in_turn([FINE])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        error = await failure(engine.generate(question(COMPLETION, slot)))
    assert error.code is ErrorCode.IMAGE_UNDECODABLE
    assert error.field == ("window[1]" if in_video else "current")
    assert not endpoint.asked


async def test_the_status_asks_the_endpoint_and_not_at_every_time() -> None:
    async with (
        ScriptedEndpoint(in_turn([FINE])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        assert (await engine.status()).ready
        assert (await engine.status()).ready
    assert endpoint.listed == 1


@pytest.mark.parametrize(
    ("status", "ready"),
    [(200, True), (404, True), (403, True), (429, True), (401, False), (503, False)],
)
async def test_what_the_list_of_models_says_of_readiness(status: int, ready: bool) -> None:
    endpoint = ScriptedEndpoint(in_turn([FINE]))
    endpoint.models = Reply(b"{}", status)
    async with endpoint.serving(), engine_on(endpoint) as engine:
        found = await engine.status()
    assert found.ready is ready
    assert bool(found.reason) is not ready
