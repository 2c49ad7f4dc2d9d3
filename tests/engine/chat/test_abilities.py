"""What is found out about an endpoint at the start."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from lrm_server.engine.chat.abilities import Abilities
from lrm_server.engine.chat.start import ChatOptions, fingerprint, open_chat_engine
from lrm_server.errors import DomainError, ErrorCode
from tests.engine.chat.forms import COMPLETION, question
from tests.engine.chat.scripted_endpoint import KEY, Asked, Reply, ScriptedEndpoint, completion

REFUSED = Reply(b'{"error": {"message": "unsupported parameter"}}', 400)
LISTED = {"green": 0.9, "red": 0.1}


def like(
    *,
    bound: str = "max_tokens",
    temperature: bool = True,
    top: int = 20,
    refuses_prefill: bool = False,
    ignores_prefill: bool = False,
    counts: bool = True,
) -> Any:
    """The script of an endpoint with these abilities."""

    def answer(asked: Asked) -> Reply:
        body = asked.body
        if bound not in body or ("temperature" in body and not temperature):
            return REFUSED
        if body.get("top_logprobs", 0) > top > 0:
            return REFUSED
        begun = body["messages"][-1]["role"] == "assistant"
        if begun and refuses_prefill:
            return REFUSED
        opened = begun and not ignores_prefill and body["continue_final_message"]
        usage = {"prompt_tokens": 20 + (0 if opened or not begun else 5), "completion_tokens": 1}
        places = [("green", LISTED)] if "top_logprobs" in body and top else None
        return completion("green", places, usage=usage if counts else None)

    return answer


@pytest.mark.parametrize(
    ("endpoint", "found"),
    [
        (like(), Abilities(top=20, prefill=True)),
        (like(refuses_prefill=True), Abilities(top=20)),
        (like(ignores_prefill=True), Abilities(top=20)),
        (like(counts=False), Abilities(top=20)),
        (like(top=5), Abilities(top=5, prefill=True)),
        (like(top=0), Abilities()),
        (
            like(bound="max_completion_tokens", refuses_prefill=True),
            Abilities(bound="max_completion_tokens", top=20),
        ),
        (
            like(bound="max_completion_tokens", temperature=False, top=0),
            Abilities(bound="max_completion_tokens", sampling={}),
        ),
    ],
    ids=["vllm", "refuses", "ignores", "uncounted", "top5", "unlisted", "openai", "reasoning"],
)
async def test_abilities_are_found_out_by_asking(endpoint: Any, found: Abilities) -> None:
    async with (
        ScriptedEndpoint(endpoint).serving() as served,
        open_chat_engine(ChatOptions(url=served.url, model="m"), {}) as engine,
    ):
        assert engine._abilities == found
        assert engine.reads_labels is (found.top > 0)
        before = len(served.asked)
        await engine.generate(question(COMPLETION))
        assert len(served.asked) == before + 1
    assert found.bound in served.asked[-1].body


async def test_what_the_operator_knows_is_not_asked() -> None:
    async with ScriptedEndpoint(like(counts=False)).serving() as served:
        options = ChatOptions(url=served.url, model="m", prefill="yes")
        async with open_chat_engine(options, {}) as engine:
            assert engine._abilities.prefill
    assert all(len(asked.body["messages"]) == 1 for asked in served.asked)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(b"", 401), ErrorCode.INTERNAL),
        (Reply(b'{"message": "no such model"}', 404), ErrorCode.INTERNAL),
        (Reply(b"nonsense"), ErrorCode.INTERNAL),
        (REFUSED, ErrorCode.INVALID_ARGUMENT),
        (Reply(b"", 503), ErrorCode.UNAVAILABLE),
    ],
)
async def test_an_endpoint_that_takes_no_plain_question_is_not_opened(
    reply: Reply, code: ErrorCode
) -> None:
    async with ScriptedEndpoint(lambda asked: reply).serving() as served:
        patience = 3.0 if code is ErrorCode.UNAVAILABLE else 30.0
        options = ChatOptions(url=served.url, model="m", key=KEY, timeout_seconds=patience)
        with pytest.raises(DomainError) as error:
            async with open_chat_engine(options, {}):
                raise AssertionError
    assert error.value.code is code


def test_the_fingerprint_tells_names_and_hosts_apart_and_names_the_model() -> None:
    same = fingerprint(["m"], "host")
    assert same == fingerprint(["m"], "host")
    assert same.startswith("m@")
    assert (
        len(
            {
                same,
                fingerprint(["n"], "host"),
                fingerprint(["m"], "b"),
                fingerprint(["m", "a"], "host"),
            }
        )
        == 4
    )


def test_the_key_is_not_part_of_what_is_logged_of_the_options() -> None:
    assert KEY not in repr(ChatOptions(url="http://host/v1", model="m", key=KEY))


def test_a_remote_model_needs_no_engine_in_this_process() -> None:
    heavy = "{'vllm', 'torch', 'transformers'}"
    code = f"import sys, lrm_server.engine.chat.start; print({heavy} & sys.modules.keys())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert found.stdout.strip() == "set()"
