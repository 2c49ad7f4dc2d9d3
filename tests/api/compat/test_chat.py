"""Chat completions in OpenAI's form, asked as RLinf's reward worker and OpenAI's client ask."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from lrm_server.engine.protocol import Conversation, FrameSlot
from lrm_server.errors import DomainError, ErrorCode
from tests.api.compat.lrm_client import completion, image
from tests.api.compat.service import ADAPTER, CompatEngine, post, running

CHAT = "/v1/chat/completions"
QUESTION = "Compared with the first frames, is the robot making progress? positive, negative?"
HUSH = "hush"


def data_url(pixels: np.ndarray, form: str = "JPEG", **options: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=form, **options)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{encoded}"


def asked(*urls: str, **changes: Any) -> dict[str, Any]:
    """As RLinf's reward worker asks: every view's frames, then the question."""
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = {
        "model": "scripted",
        "messages": [{"role": "user", "content": [*content, {"type": "text", "text": QUESTION}]}],
        "max_tokens": 16,
        "temperature": 0.0,
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not ...}


def frames(conversation: Conversation) -> list[np.ndarray]:
    return [part.frame.pixels() for part in conversation.parts if isinstance(part, FrameSlot)]


async def test_the_reward_worker_of_rlinf_reads_what_the_model_wrote(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    views = [[image(seed) for seed in (1, 2)], [image(seed) for seed in (3, 4)]]
    urls = [data_url(frame, quality=95) for view in views for frame in view]
    answer = await post(http, CHAT, json=asked(*urls))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "positive"
    (conversation,) = engine.conversations
    assert (conversation.max_tokens, conversation.temperature) == (16, 0.0)
    assert conversation.parts[-1] == QUESTION
    decoded = [np.asarray(Image.open(io.BytesIO(_bytes(url)))) for url in urls]
    for frame, sent in zip(frames(conversation), decoded, strict=True):
        np.testing.assert_array_equal(frame, sent)


def _bytes(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


async def test_openais_own_client_is_answered(engine: CompatEngine) -> None:
    engine.writes = lambda _: "one two three four"
    async with running(engine) as http:
        client = openai.AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0)
        async with client:
            reply = await client.chat.completions.create(
                model="scripted",
                messages=[
                    {"role": "system", "content": "You judge robots."},
                    {"role": "user", "content": "How does it begin?"},
                    {"role": "assistant", "content": "Well."},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "And now?"},
                            {
                                "type": "image_url",
                                "image_url": {"url": data_url(image(), "PNG"), "detail": "low"},
                            },
                        ],
                    },
                ],
                max_completion_tokens=3,
                temperature=0.5,
                top_p=0.9,
                stop=["\n", "END"],
                seed=7,
                n=1,
                user="someone",
            )
            listed = await client.models.list()
    assert reply.object == "chat.completion"
    assert reply.model == "scripted"
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content == "one two three"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (40, 3)
    assert reply.usage.total_tokens == 43
    assert reply.system_fingerprint == engine.fingerprint
    assert [model.id for model in listed.data] == ["scripted"]
    (conversation,) = engine.conversations
    assert [message.role for message in conversation.messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    np.testing.assert_array_equal(frames(conversation)[0], image())
    assert conversation.stop == ("\n", "END")
    assert (conversation.seed, conversation.temperature, conversation.top_p) == (7, 0.5, 0.9)


async def test_what_a_request_leaves_out_is_openais_default(
    still: httpx.AsyncClient,
) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Well?"}]}
    answer = (await post(still, CHAT, json=body)).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["logprobs"] is None


async def test_an_adapter_is_asked_by_its_name(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    assert (await post(http, CHAT, json=asked(model=ADAPTER))).status_code == 200
    assert (await post(http, CHAT, json=asked())).status_code == 200
    assert [each.adapter for each in engine.conversations] == [ADAPTER, None]


def refused(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error, after it was seen to have OpenAI's form."""
    body = answer.json()
    assert answer.status_code == status, body
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error


async def test_a_model_that_is_not_served_is_not_found(still: httpx.AsyncClient) -> None:
    error = refused(await post(still, CHAT, json=asked(model="gpt-4o")), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["type"] == "invalid_request_error"
    assert f"scripted, {ADAPTER}" in error["message"]


PLACE = "messages[0].content[0].image_url"
GOOD = data_url(image(), "PNG")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.org/a.jpg", "never opened"),
        ("http://169.254.169.254/latest", "never opened"),
        ("file:///etc/passwd", "never opened"),
        ("/etc/passwd", "never opened"),
        (None, "never opened"),
        ("data:image/gif;base64,R0lGOD", "begins with 'image/gif;base64'"),
        ("data:image/jpeg,abc", "begins with 'image/jpeg'"),
        ("data:image/jpeg;base64", "begins with"),
        ("data:image/jpeg;base64,@@@@", "not base64"),
        ("data:image/jpeg;base64,", "the frame is empty"),
        ("data:image/jpeg;base64,AAAA", "not a whole JPEG"),
    ],
)
async def test_an_image_must_be_a_whole_data_url(
    still: httpx.AsyncClient, url: Any, said: str
) -> None:
    body = asked("x")
    body["messages"][0]["content"][0]["image_url"]["url"] = url
    error = refused(await post(still, CHAT, json=body))
    assert error["param"] == PLACE
    assert said in error["message"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"stream": True}, "stream"),
        ({"logprobs": True, "top_logprobs": 5}, "logprobs"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"top_k": 5}, "top_k"),
        ({"guided_choice": ["a"]}, "guided_choice"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "16"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"model": ...}, "model"),
        ({"model": 3}, "model"),
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "1"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0]",
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": [{"type": "image_url", "image_url": GOOD}]},
                    {"role": "user", "content": "hello"},
                ]
            },
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "assistant", "content": "hello"}]}, "messages[0].role"),
    ],
)
async def test_a_parameter_that_is_not_honoured_is_refused_by_its_name(
    still: httpx.AsyncClient, change: dict[str, Any], param: str
) -> None:
    error = refused(await post(still, CHAT, json=asked(**change)))
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param)


@pytest.mark.parametrize(
    "harmless",
    [
        {"n": 1, "stream": False, "logprobs": False, "top_logprobs": None},
        {"frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}, "top_k": -1},
        {"response_format": {"type": "text"}, "tools": [], "tool_choice": "none"},
        {"user": "u", "metadata": {"run": "1"}, "store": False, "stream_options": None},
        {"temperature": None, "max_tokens": None, "stop": None, "seed": None, "top_p": 1},
    ],
)
async def test_a_parameter_that_asks_for_nothing_is_no_error(
    still: httpx.AsyncClient, harmless: dict[str, Any]
) -> None:
    assert (await post(still, CHAT, json=asked(GOOD, **harmless))).status_code == 200


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (ErrorCode.UNAVAILABLE, 503, "server_error"),
        (ErrorCode.IMAGE_UNDECODABLE, 400, "invalid_request_error"),
        (ErrorCode.INTERNAL, 500, "server_error"),
        (ErrorCode.DEADLINE_EXCEEDED, 504, "server_error"),
    ],
)
async def test_what_the_engine_cannot_answer_is_an_error_and_no_text(
    http: httpx.AsyncClient, engine: CompatEngine, code: ErrorCode, status: int, kind: str
) -> None:
    engine.writes = lambda _: DomainError(code, "it cannot be")
    error = refused(await post(http, CHAT, json=asked()), status)
    assert (error["type"], error["code"], error["message"]) == (kind, code.value, "it cannot be")


async def test_a_full_engine_is_waited_for(http: httpx.AsyncClient, engine: CompatEngine) -> None:
    full = DomainError(ErrorCode.OVERLOADED, "full", retry_after_seconds=0.01)
    answers = iter([full, full, "negative"])
    engine.writes = lambda _: next(answers)
    answer = await post(http, CHAT, json=asked())
    assert answer.json()["choices"][0]["message"]["content"] == "negative"
    assert len(engine.conversations) == 3


async def test_waiting_ends_at_the_callers_deadline(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    engine.writes = lambda _: DomainError(ErrorCode.OVERLOADED, "full", retry_after_seconds=0.01)
    headers = {"x-request-timeout-ms": "300"}
    error = refused(await post(http, CHAT, json=asked(), headers=headers), 504)
    assert error["code"] == "deadline_exceeded"


async def test_a_caller_who_goes_away_frees_the_engine(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    stopped = asyncio.Event()
    begun = asyncio.Event()

    async def pause() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    engine.pause = pause
    asking = asyncio.ensure_future(post(http, CHAT, json=asked()))
    await asyncio.wait_for(begun.wait(), 10)
    asking.cancel()
    await asyncio.wait_for(stopped.wait(), 10)


async def test_errors_of_the_door_have_openais_form(engine: CompatEngine) -> None:
    async with running(engine, token=HUSH, max_message_mib=1) as http:
        error = refused(await post(http, CHAT, json=asked()), 401)
        assert error["type"] == "authentication_error"
        headers = {"authorization": f"Bearer {HUSH}"}
        large = await http.post(CHAT, content=b" " * (1 << 20) + b"{}", headers=headers)
        assert "max_message_mib" in refused(large, 413)["message"]
        assert refused(await http.get(CHAT, headers=headers), 405)
        broken = await http.post(CHAT, content=b"{", headers=headers)
        assert "not JSON" in refused(broken)["message"]


async def test_conversations_are_counted(http: httpx.AsyncClient, engine: CompatEngine) -> None:
    await post(http, CHAT, json=asked())
    engine.writes = lambda _: DomainError(ErrorCode.INTERNAL, "it cannot be")
    await post(http, CHAT, json=asked())
    await post(http, "/compat/lrm/compute_completion", json=completion(image()))
    text = (await http.get("/metrics")).text
    assert 'lrm_conversations_total{outcome="ok"} 1.0' in text
    assert 'lrm_conversations_total{outcome="internal"} 1.0' in text
    assert 'lrm_conversation_tokens_total{kind="prompt"} 40.0' in text
    assert 'lrm_conversation_tokens_total{kind="completion"} 1.0' in text
    assert 'lrm_queries_total{head="completion",outcome="ok"} 1.0' in text
    assert 'method="POST /v1/chat/completions",transport="http"' in text
