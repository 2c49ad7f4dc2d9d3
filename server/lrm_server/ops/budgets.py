"""How many queries a training run may ask: a reward model for the warm-up alone.

A learner whose value function was trained on the model's rewards goes on without them
(VLLR, arXiv 2604.00055). It names its run with each request, and when the run has asked its
queries, further ones fail and say so.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from lrm_server.engine.protocol import Conversation, EngineStatus, Written
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.decomposer import Decomposition
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.scorer import Scorer

MAX_ID_LENGTH: Final = 200
MAX_QUERIES: Final = 2**53
"""So that every number of queries is one in JSON as well."""

_NOT_ASKED: Final = frozenset(
    {
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.UNKNOWN_HEAD,
        ErrorCode.IMAGE_UNDECODABLE,
        ErrorCode.IMAGE_TOO_LARGE,
        ErrorCode.LABEL_SET_TOO_LARGE,
        ErrorCode.OVERLOADED,
        ErrorCode.UNAVAILABLE,
    }
)
"""How a query ends that was refused, or lost before its model answered: it is asked again."""

_run: ContextVar[str | None] = ContextVar("lrm_run", default=None)


def ask_for(run: str | None) -> None:
    """Queries that the current task asks from now on, and tasks begun by it, are this run's."""
    _run.set(run)


@contextmanager
def on_behalf_of(run: str | None) -> Iterator[None]:
    """Queries that are asked within the block, and in tasks begun there, are this run's.

    Args:
        run: its id; None for no run.
    """
    before = _run.set(run)
    try:
        yield
    finally:
        _run.reset(before)


def checked_run_id(run: str, field: str = "id") -> str:
    """An id that a header can carry.

    Raises:
        DomainError: INVALID_ARGUMENT of ``field``.
    """
    if not 0 < len(run) <= MAX_ID_LENGTH:
        raise invalid(
            field, f"the run's id has {len(run)} characters; it has 1 to {MAX_ID_LENGTH}."
        )
    if not (run.isascii() and run.isprintable()) or run != run.strip() or "/" in run:
        raise invalid(
            field, "the run's id is printable ASCII without a '/' and without spaces around it."
        )
    return run


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run stands.

    Attributes:
        id: chosen by its caller.
        queries: how many it may ask.
        used: how many it asked; queries that are being answered count.
    """

    id: str
    queries: int
    used: int = 0

    @property
    def over(self) -> bool:
        """Whether it may ask no more."""
        return self.used >= self.queries


class _Kept:
    """A run that is open, and when it was last used."""

    __slots__ = ("id", "queries", "used", "used_at")

    def __init__(self, run: str, queries: int, used_at: float) -> None:
        self.id = run
        self.queries = queries
        self.used = 0
        self.used_at = used_at

    def standing(self) -> Run:
        return Run(self.id, self.queries, self.used)


class RunBudgets:
    """The runs that are open, in this process; used from one event loop.

    No method waits, so nothing comes between looking at a budget and counting.

    Args:
        most: how many may be open at once; those that are used do not make way for others.
        idle_seconds: a run that nobody named for so long is forgotten.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        most: int = 1024,
        idle_seconds: float = 7 * 24 * 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._idle_seconds = idle_seconds
        self._clock = clock
        # In the order of their last use, so that those that expire come first.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def open(self, run: str, queries: int) -> Run:
        """Opens a run, or changes how many queries an open one may ask; what it asked stays.

        Raises:
            DomainError: INVALID_ARGUMENT of ``id`` or ``queries``, OVERLOADED when no more
                runs may be open.
        """
        checked_run_id(run)
        if not 0 <= queries <= MAX_QUERIES:
            raise invalid("queries", f"a run asks 0 to {MAX_QUERIES} queries, not {queries}.")
        now = self._expire()
        kept = self._kept.get(run)
        if kept is None:
            if len(self._kept) >= self._most:
                raise DomainError(
                    ErrorCode.OVERLOADED,
                    f"{len(self._kept)} runs are open and no more may be: close those that have "
                    "ended.",
                )
            kept = self._kept[run] = _Kept(run, queries, now)
        kept.queries = queries
        self._touch(kept, now)
        return kept.standing()

    def get(self, run: str) -> Run:
        """Where a run stands; counts as a use.

        Raises:
            DomainError: RUN_NOT_FOUND.
        """
        return self._find(run).standing()

    def close(self, run: str) -> bool:
        """Forgets a run; whether it was open."""
        self._expire()
        return self._kept.pop(run, None) is not None

    @contextmanager
    def asking(self, run: str) -> Iterator[None]:
        """Counts the query that is asked within the block.

        It counts whether it is answered, fails or is given up. It does not count when it
        is wrong, when the server is full, or when the model cannot be reached.

        Raises:
            DomainError: WARM_UP_OVER when the run has asked its queries, RUN_NOT_FOUND.
        """
        kept = self._find(run)
        if kept.used >= kept.queries:
            raise _over(kept)
        kept.used += 1
        try:
            yield
        except DomainError as error:
            if error.code in _NOT_ASKED:
                kept.used -= 1
            raise

    def _find(self, run: str) -> _Kept:
        now = self._expire()
        kept = self._kept.get(run)
        if kept is None:
            raise DomainError(
                ErrorCode.RUN_NOT_FOUND,
                f"run {run[:MAX_ID_LENGTH]!r} is not open here: it was never opened, was closed, "
                "or was forgotten when the server started again or nobody named it for a long "
                "time. Open it with the queries that it has left.",
                field="run",
            )
        self._touch(kept, now)
        return kept

    def _touch(self, kept: _Kept, now: float) -> None:
        kept.used_at = now
        self._kept.move_to_end(kept.id)

    def _expire(self) -> float:
        """Forgets what has been idle too long; the time by the clock."""
        now = self._clock()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if now - oldest.used_at < self._idle_seconds:
                break
            del self._kept[oldest.id]
        return now


class BudgetedScorer:
    """Passes on to another scorer what the run that asks may still ask.

    A composite head's query is one query, and so is a pair that is asked in both orders. A
    retry that the model is asked again for counts again; a step of an episode that is answered
    from memory asks nothing. Who names no run is not counted.
    """

    def __init__(self, scorer: Scorer, budgets: RunBudgets) -> None:
        self._scorer = scorer
        self._budgets = budgets

    @property
    def catalogue(self) -> HeadCatalogue:
        """The heads that are served."""
        return self._scorer.catalogue

    def check(self, query: Query) -> None:
        """As the scorer beneath."""
        self._scorer.check(query)

    async def score(self, query: Query) -> Reply:
        """As the scorer beneath.

        Raises:
            DomainError: WARM_UP_OVER, RUN_NOT_FOUND, or the query failed.
        """
        run = _run.get()
        if run is None:
            return await self._scorer.score(query)
        with self._budgets.asking(run):
            return await self._scorer.score(query)

    async def decompose(
        self, head: str, task: str, scene: str = "", deadline: float | None = None
    ) -> Decomposition:
        """As the scorer beneath; it gives no reward, and does not count."""
        return await self._scorer.decompose(head, task, scene, deadline)

    async def converse(self, conversation: Conversation) -> Written:
        """As the scorer beneath; counts as one query.

        Raises:
            DomainError: WARM_UP_OVER, RUN_NOT_FOUND, or the conversation failed.
        """
        run = _run.get()
        if run is None:
            return await self._scorer.converse(conversation)
        with self._budgets.asking(run):
            return await self._scorer.converse(conversation)

    async def status(self) -> EngineStatus:
        """As the scorer beneath."""
        return await self._scorer.status()


def _over(kept: _Kept) -> DomainError:
    return DomainError(
        ErrorCode.WARM_UP_OVER,
        f"the warm-up of run {kept.id!r} is over: it asked {kept.used} queries of {kept.queries}. "
        "The learner goes on with its value function; open the run again with more queries to "
        "ask on.",
        field="run",
    )
