"""A scorer that counts its queries and conversations, whoever asks: a caller or an episode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lrm_server.callers import current_caller
from lrm_server.engine.protocol import Conversation, EngineStatus, Written
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.decomposer import Decomposition
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.scorer import Scorer
from lrm_server.ops.metrics import CANCELLED, OK, Metrics

UNKNOWN = "unknown"
"""The label of every head that is not served, so that callers cannot make labels."""


class MeteredScorer:
    """Passes everything on to another scorer and takes down how it went."""

    def __init__(self, scorer: Scorer, metrics: Metrics) -> None:
        self._scorer = scorer
        self._metrics = metrics

    @property
    def catalogue(self) -> HeadCatalogue:
        """The heads that are served."""
        return self._scorer.catalogue

    def check(self, query: Query) -> None:
        """As the scorer beneath."""
        self._scorer.check(query)

    async def score(self, query: Query) -> Reply:
        """As the scorer beneath."""
        head = query.head if query.head in self._scorer.catalogue else UNKNOWN
        started = time.monotonic()
        with self._failures(
            query.deadline, lambda outcome: self._metrics.failed(head, outcome, _since(started))
        ):
            reply = await self._scorer.score(query)
        self._metrics.answered(head, reply, _since(started))
        self._metrics.waited(current_caller().priority, reply.timings.queue_ms / 1000)
        return reply

    async def decompose(
        self, head: str, task: str, scene: str = "", deadline: float | None = None
    ) -> Decomposition:
        """As the scorer beneath."""
        return await self._scorer.decompose(head, task, scene, deadline)

    async def converse(self, conversation: Conversation) -> Written:
        """As the scorer beneath."""
        started = time.monotonic()
        with self._failures(
            conversation.deadline,
            lambda outcome: self._metrics.conversed(outcome, None, _since(started)),
        ):
            written = await self._scorer.converse(conversation)
        self._metrics.conversed(OK, written, _since(started))
        return written

    async def status(self) -> EngineStatus:
        """As the scorer beneath."""
        return await self._scorer.status()

    @contextmanager
    def _failures(self, deadline: float | None, failed: Callable[[str], None]) -> Iterator[None]:
        """Takes down how the work of a block failed."""
        try:
            yield
        except DomainError as error:
            if error.code is ErrorCode.OVERLOADED:
                self._metrics.refused(current_caller().priority)
            failed(error.code.value)
            raise
        except asyncio.CancelledError:
            # Work that is late is cancelled as well as work that nobody wants.
            late = deadline is not None and time.monotonic() >= deadline
            failed(ErrorCode.DEADLINE_EXCEEDED.value if late else CANCELLED)
            raise
        except Exception:
            failed(ErrorCode.INTERNAL.value)
            raise


def _since(started: float) -> float:
    return time.monotonic() - started
