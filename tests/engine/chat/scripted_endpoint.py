"""A chat endpoint that answers as it is told, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lrm_server.engine.admission import Admission
from lrm_server.engine.chat.abilities import Abilities
from lrm_server.engine.chat.chat_engine import ChatEngine
from lrm_server.engine.chat.endpoint import Endpoint
from lrm_server.engine.chat.images import ImageUrls
from lrm_server.engine.holdings import QueueLimits
from lrm_server.engine.places import FixedPlaces

KEY = "sk-of-nobody-4711"


@dataclass(frozen=True)
class Reply:
    """An HTTP reply as it goes over the wire; ``body`` may be cut short of ``length``."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    delay: float = 0.0

    @property
    def raw(self) -> bytes:
        length = len(self.body) if self.length is None else self.length
        headers = {"content-type": "application/json", "connection": "close"}
        headers |= {"content-length": str(length)} | dict(self.headers)
        lines = [f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body


@dataclass
class Asked:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: Any


Script = Callable[[Asked], Reply | Awaitable[Reply]]


class ScriptedEndpoint:
    """Answers POST by its script, and GET /v1/models with a list.

    Attributes:
        asked: every chat request, in order.
        script: how they are answered.
        models: how the list of models is answered.
        cut: chat requests whose caller went away before the answer.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.models = Reply(b'{"object": "list", "data": []}')
        self.asked: list[Asked] = []
        self.listed = 0
        self.cut = 0
        self.most_at_once = 0
        self._at_once = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedEndpoint]:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            method, path, _ = head[0].split()
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            reply = await self._answer(
                method, Asked(path, headers, json.loads(body or b"null")), reader
            )
            if reply is not None:
                writer.write(reply.raw)
                await writer.drain()
        except ConnectionError:
            self.cut += 1
        finally:
            writer.close()

    async def _answer(
        self, method: str, asked: Asked, reader: asyncio.StreamReader
    ) -> Reply | None:
        if method == "GET":
            self.listed += 1
            return self.models
        self.asked.append(asked)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            found = self.script(asked)
            reply = found if isinstance(found, Reply) else await found
            gone = asyncio.ensure_future(reader.read())
            done, _ = await asyncio.wait({gone}, timeout=reply.delay)
            gone.cancel()
            if done:
                self.cut += 1
                return None
            return reply
        finally:
            self._at_once -= 1


def in_turn(replies: Iterable[Reply]) -> Script:
    """Each reply once, the last one for ever."""
    left = list(replies)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


Place = tuple[str, Mapping[str, float]]
"""What was written in one token, and the probabilities listed there."""


def completion(text: str = "", places: Sequence[Place] | None = None, **fields: Any) -> Reply:
    """A chat completion; with ``places`` its text and log-probabilities come from them."""
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    if places is not None:
        choice["message"]["content"] = "".join(token for token, _ in places)
        choice["logprobs"] = {
            "content": [
                {
                    **_entry(token, shares[token]),
                    "top_logprobs": [_entry(*each) for each in shares.items()],
                }
                for token, shares in places
            ]
        }
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    body = {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage, **fields}
    return Reply(json.dumps(body).encode())


def _entry(token: str, share: float) -> dict[str, Any]:
    logprob = math.log(share) if share else -9999.0
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


FORCING = Abilities(top=20, prefill=True)
LISTING = Abilities(top=20)
WRITING = Abilities()


@asynccontextmanager
async def engine_on(
    endpoint: ScriptedEndpoint,
    abilities: Abilities = FORCING,
    *,
    adapters: Mapping[str, str] | None = None,
    concurrency: int = 8,
    max_queue: int = 64,
    timeout_seconds: float = 10.0,
    observed: list[tuple[str, int, int]] | None = None,
) -> AsyncIterator[ChatEngine]:
    """An engine whose endpoint's abilities are given instead of found out."""
    http = Endpoint(endpoint.url, KEY, concurrency=concurrency, timeout_seconds=timeout_seconds)
    counts = [] if observed is None else observed
    try:
        yield ChatEngine(
            http,
            "model",
            adapters or {},
            abilities,
            ImageUrls(None, 1 << 20),
            Admission(FixedPlaces(concurrency), QueueLimits(max_queue=max_queue)),
            "model@0",
            lambda *count: counts.append(count),
        )
    finally:
        await http.close()
