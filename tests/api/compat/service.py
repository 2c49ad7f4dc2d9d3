"""Real heads on an engine that answers as it is told, behind a real server."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import requests

from lrm_server.app import Server
from lrm_server.engine.protocol import (
    Conversation,
    EngineTimings,
    Generation,
    LabelReading,
    Question,
    Written,
)
from lrm_server.errors import DomainError
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import HeadEntry, Manifest, served_heads
from lrm_server.heads.profile import Readout
from lrm_server.heads.scoring import HeadScorer
from tests.api.conftest import settings
from tests.heads.scripted_engine import ScriptedEngine

LRM_HEADS = ("contrastive", "progress", "completion")
ADAPTER = "trained"


class CompatEngine(ScriptedEngine):
    """Also writes, and answers each question by what it shows.

    Attributes:
        judge: the probabilities of a question's labels, or the error that it fails
            with; None leaves it to ``shares``.
        writes: what the next turn of a conversation is, or its error.
        pause: awaited before any question is answered.
        conversations: those that were asked.
        at_once: the most questions that were being answered at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.judge: Callable[[Question], Sequence[float] | DomainError | None] = lambda _: None
        self.writes: Callable[[Conversation], str | DomainError] = lambda _: "positive"
        self.pause: Callable[[], Awaitable[None]] | None = None
        self.conversations: list[Conversation] = []
        self.at_once = 0
        self._inside = 0

    async def read_forced(self, question: Question) -> LabelReading:
        return await self._answered(question, super().read_forced)

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        return await self._answered(question, super().read_after_reasoning)

    async def generate(self, question: Question) -> Generation:
        self.asked.append(("generate", question))
        return Generation(self.text, True, EngineTimings())

    async def converse(self, conversation: Conversation) -> Written:
        self.conversations.append(conversation)
        if self.pause is not None:
            await self.pause()
        text = self.writes(conversation)
        if isinstance(text, DomainError):
            raise text
        cut = conversation.max_tokens is not None and len(text.split()) > conversation.max_tokens
        words = text.split()[: conversation.max_tokens]
        return Written(
            " ".join(words), "length" if cut else "stop", 40, len(words), EngineTimings()
        )

    async def _answered(self, question: Question, ask: Any) -> LabelReading:
        self._inside += 1
        self.at_once = max(self.at_once, self._inside)
        try:
            if self.pause is not None:
                await self.pause()
            answer = self.judge(question)
            if isinstance(answer, DomainError):
                raise answer
            reading: LabelReading = await ask(question)
            if answer is None:
                return reading
            logprobs = tuple(math.log(share) if share else -math.inf for share in answer)
            return LabelReading(logprobs, reading.text, reading.timings)
        finally:
            self._inside -= 1


def scorer(
    engine: CompatEngine, heads: Sequence[str] = LRM_HEADS, readout: Readout = Readout.LIKELIHOOD
) -> HeadScorer:
    """Heads of the built-in profiles on an engine; contrastive by an adapter of its own."""
    entries = {
        name: HeadEntry(
            profile=f"lrm_{name}" if name in LRM_HEADS else name,
            readout=readout if name in LRM_HEADS else None,
            adapter=ADAPTER if name == "contrastive" else None,
        )
        for name in heads
    }
    manifest = Manifest(id="scripted", heads=entries)
    adapters = {ADAPTER: "there"} if "contrastive" in heads else {}
    card = ModelCard("scripted", "answers as a test tells it", engine.fingerprint)
    return HeadScorer(engine, HeadCatalogue(served_heads(manifest, adapters), card))


@asynccontextmanager
async def running(
    engine: CompatEngine, heads: Sequence[str] = LRM_HEADS, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A server on an engine, and a client of it."""
    readout = changes.pop("readout", Readout.LIKELIHOOD)
    async with Server(settings(**changes), scorer(engine, heads, readout)) as server:
        base = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=base, timeout=20) as http:
            yield http


async def post(http: httpx.AsyncClient, path: str, **sent: Any) -> httpx.Response:
    """Posts the bytes that ``requests.post(url, **sent)`` puts on the wire."""
    prepared = requests.Request("POST", str(http.base_url.join(path)), **sent).prepare()
    return await http.post(
        prepared.url or "", content=prepared.body or b"", headers=dict(prepared.headers)
    )
