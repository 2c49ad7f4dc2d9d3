"""A real scorer on a real engine, in a thread with an event loop of its own.

Starting vLLM takes half a minute, so a session starts few engines and all its
tests share them. Tests may be synchronous: ``run`` waits for a coroutine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from bench.encoded import Encoded, counting_encoded
from lrm_server.checkpoint import open_scorer
from lrm_server.config import Settings
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.scoring import HeadScorer

T = TypeVar("T")


class EngineHost:
    """The loop that an engine lives in, what runs on it, and how many frames it encoded."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, scorer: HeadScorer, encoded: Encoded
    ) -> None:
        self.loop = loop
        self.scorer = scorer
        self.encoded = encoded

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 120.0) -> T:
        """Waits for a coroutine that runs in the engine's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def score(self, query: Query) -> Reply:
        """The reply to one query."""
        return self.run(self.scorer.score(query))

    def score_all(self, queries: list[Query]) -> list[Reply]:
        """The replies to queries that are asked at once."""

        async def ask() -> list[Reply]:
            return await asyncio.gather(*(self.scorer.score(query) for query in queries))

        return self.run(ask())


@contextmanager
def engine_host(settings: Settings) -> Iterator[EngineHost]:
    """A scorer that has proved itself, for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="engine-host", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(300)

    opening = open_scorer(settings)
    try:
        with counting_encoded() as encoded:
            scorer = run(opening.__aenter__())
            assert isinstance(scorer, HeadScorer)
            try:
                yield EngineHost(loop, scorer, encoded)
            finally:
                run(opening.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
