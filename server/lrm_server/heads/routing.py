"""Several engines behind one scorer: a query goes to the engine that serves its head."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from lrm_server.engine.protocol import Conversation, EngineStatus, Written
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.checks import check_all
from lrm_server.heads.composite import score_composite
from lrm_server.heads.decomposer import Decomposition
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.scorer import Scorer

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 4.0
"""An engine that does not say so soon how it is, is down; the others are heard all the same."""


class RoutingScorer:
    """Implements ``heads.scorer.Scorer`` on several scorers.

    Args:
        scorers: engine -> its scorer. The engine's name is its model's id, and no head is
            served by two of them.
        spanning: engine -> composite heads that it names and whose parts several engines serve.
    """

    def __init__(
        self, scorers: Mapping[str, Scorer], spanning: Mapping[str, Sequence[ServedHead]]
    ) -> None:
        self._scorers = dict(scorers)
        self._owners = {head: scorer for scorer in scorers.values() for head in scorer.catalogue}
        self._catalogue = HeadCatalogue.of_models(
            [
                HeadCatalogue(
                    [*scorer.catalogue.values(), *spanning.get(name, ())], scorer.catalogue.model
                )
                for name, scorer in scorers.items()
            ]
        )

    @property
    def catalogue(self) -> HeadCatalogue:
        """The heads of all engines."""
        return self._catalogue

    def check(self, query: Query) -> None:
        """As the scorer that serves the head.

        Raises:
            DomainError: as ``Scorer.check``.
        """
        owner = self._owners.get(query.head)
        if owner is not None:
            owner.check(query)
        else:
            check_all(self._catalogue, query)

    async def score(self, query: Query) -> Reply:
        """The reply of the engine that serves the head, or of those that serve its parts.

        Raises:
            DomainError: the query failed.
        """
        owner = self._owners.get(query.head)
        if owner is not None:
            return await owner.score(query)
        self.check(query)
        head = self._catalogue[query.head]
        return await score_composite(self.score, self._catalogue, head, query)

    async def converse(self, conversation: Conversation) -> Written:
        """The next turn, written by the model that the conversation names.

        Raises:
            DomainError: UNKNOWN_HEAD of ``model``, or as ``Scorer.converse``.
        """
        name = conversation.model or next(iter(self._scorers))
        if name not in self._scorers:
            raise DomainError(
                ErrorCode.UNKNOWN_HEAD,
                f"the model {name!r} is not served here: ask one of {', '.join(self._scorers)}.",
                field="model",
            )
        return await self._scorers[name].converse(conversation)

    async def decompose(
        self, head: str, task: str, scene: str = "", deadline: float | None = None
    ) -> Decomposition:
        """As the scorer that serves the head.

        Raises:
            DomainError: as ``Scorer.decompose``.
        """
        name = self._catalogue[head].name
        owner = self._owners.get(name)
        if owner is None:
            raise invalid("head", f"head {name} asks about no subtasks.")
        return await owner.decompose(name, task, scene, deadline)

    async def status(self) -> EngineStatus:
        """Asks every engine itself; those that cannot answer are named."""
        statuses = await asyncio.gather(
            *(_status(name, scorer) for name, scorer in self._scorers.items())
        )
        engines = dict(zip(self._scorers, statuses, strict=True))
        queued: Counter[str] = Counter()
        for each in statuses:
            # Adding Counters would leave out the classes of which nothing waits.
            queued.update(each.queued)
        return EngineStatus(
            ready=all(each.ready for each in statuses),
            reason="; ".join(
                f"engine {name}: {each.reason}" for name, each in engines.items() if not each.ready
            ),
            running=sum(each.running for each in statuses),
            waiting=sum(each.waiting for each in statuses),
            engines=engines,
            queued=queued,
        )


async def _status(name: str, scorer: Scorer) -> EngineStatus:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await scorer.status()
    except TimeoutError:
        return EngineStatus(False, f"it did not answer within {ANSWER_WITHIN_S:g} seconds", 0, 0)
    except Exception:
        logger.exception("engine %s could not be asked how it is", name)
        return EngineStatus(False, "it could not be asked; see the server's log", 0, 0)
