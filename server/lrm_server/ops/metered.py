"""A scorer that counts its queries, whoever asks them: a caller or an episode."""

from __future__ import annotations

import asyncio
import time

from lrm_server.engine.protocol import EngineStatus
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.scorer import Scorer
from lrm_server.ops.metrics import CANCELLED, Metrics

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
        try:
            reply = await self._scorer.score(query)
        except DomainError as error:
            self._metrics.failed(head, error.code.value, time.monotonic() - started)
            raise
        except asyncio.CancelledError:
            # Work that is late is cancelled as well as work that nobody wants.
            late = query.deadline is not None and time.monotonic() >= query.deadline
            outcome = ErrorCode.DEADLINE_EXCEEDED.value if late else CANCELLED
            self._metrics.failed(head, outcome, time.monotonic() - started)
            raise
        except Exception:
            self._metrics.failed(head, ErrorCode.INTERNAL.value, time.monotonic() - started)
            raise
        self._metrics.answered(head, reply, time.monotonic() - started)
        return reply

    async def status(self) -> EngineStatus:
        """As the scorer beneath."""
        return await self._scorer.status()
