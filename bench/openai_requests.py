"""Asks vLLM's own OpenAI server for what lrm reads: the same frames, prompts and labels.

Each query is a chat request: the head's turn with its frames as JPEG, the assistant's turn begun
with the head's answer prefix, one token to write, and the log-probabilities of the labels' tokens.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from bench.scene import frames
from lrm_client import FrameEncoder
from lrm_server.heads.profile import Role

MODEL: Final = "served"
KEPT_SECONDS: Final = 3.0
"""How long a connection without a request is used again: vLLM closes it after five seconds, and
what is sent just then is lost. At 320 environments a due step takes about as long."""


@dataclass(frozen=True)
class Node:
    """One place where labels part, as a request asks for it.

    Attributes:
        prefix: the assistant's turn up to it.
        tokens: whose log-probabilities are asked.
    """

    prefix: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class ChatLoad:
    """As ``learner.Load``, asked by chat requests.

    Attributes:
        target: base URL of the server.
        environments: N.
        turn: of the user; a role where a frame stands.
        nodes: what is asked of each query.
        due: how many times every environment asks.
        seed: of the frames.
    """

    target: str
    environments: int
    turn: tuple[str | Role, ...]
    nodes: tuple[Node, ...]
    due: int = 3
    seed: int = 0


Read = list[list[dict[int, float]]]
"""Environment -> node -> token -> log-probability."""


def ask(load: ChatLoad) -> tuple[list[float], Read]:
    """Seconds of each due step, encoding included, and what was read in the last one.

    Raises:
        aiohttp.ClientError: the server refused or failed.
    """
    return asyncio.run(_ask(load))


async def _ask(load: ChatLoad) -> tuple[list[float], Read]:
    encoder = FrameEncoder("jpeg")
    seconds: list[float] = []
    read: Read = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS)
    timeout = aiohttp.ClientTimeout(total=300.0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def one(shown: Mapping[Role, str]) -> list[dict[int, float]]:
            return [await _read(session, load, node, shown) for node in load.nodes]

        def encoded(images: Any) -> list[str]:
            return [base64.b64encode(encoder.encode(each).data).decode() for each in images]

        initial = previous = encoded(frames(load.environments, load.seed))
        for step in range(1, load.due + 1):
            images = frames(load.environments, load.seed + step)
            began = time.perf_counter()
            current = encoded(images)
            read = await asyncio.gather(
                *(
                    one({Role.INITIAL: first, Role.PREVIOUS: before, Role.CURRENT: now})
                    for first, before, now in zip(initial, previous, current, strict=True)
                )
            )
            seconds.append(time.perf_counter() - began)
            previous = current
    return seconds, read


async def _read(
    session: aiohttp.ClientSession, load: ChatLoad, node: Node, shown: Mapping[Role, str]
) -> dict[int, float]:
    body = request_body(load.turn, node, shown)
    async with session.post(f"{load.target}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        answer = json.loads(await response.read())
    return label_logprobs(answer, node.tokens)


def request_body(
    turn: Sequence[str | Role], node: Node, shown: Mapping[Role, str]
) -> dict[str, Any]:
    """A chat request for the log-probabilities of a node's tokens.

    Args:
        turn: of the user.
        node: what is asked.
        shown: frames as base64 of their JPEG, by role.
    """
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{shown[part]}"}}
        if isinstance(part, Role)
        else {"type": "text", "text": part}
        for part in turn
    ]
    return {
        "model": MODEL,
        "messages": [
            {"role": "user", "content": content},
            {"role": "assistant", "content": node.prefix},
        ],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": True,
        "logprob_token_ids": list(node.tokens),
        "return_tokens_as_token_ids": True,
    }


def label_logprobs(answer: Mapping[str, Any], tokens: Sequence[int]) -> dict[int, float]:
    """Token -> log-probability, of a chat completion.

    Raises:
        KeyError: a token's is missing.
    """
    (position,) = answer["choices"][0]["logprobs"]["content"]
    given = {each["token"]: each["logprob"] for each in position["top_logprobs"]}
    return {token: given[f"token_id:{token}"] for token in tokens}
