"""What both transports do with a call once it is translated.

Items that were refused while they were translated come in as their errors and go
out as their results, in their places, so that the rest of a batch is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from lrm_server.api.arrival import Arrival
from lrm_server.api.limits import Limits as Limits
from lrm_server.api.patience import when_there_is_room
from lrm_server.api.problems import internal_error
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, OpenedEpisode, StepAnswer
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.query import Query, Reply, Timings
from lrm_server.ops.budgets import RunBudgets
from lrm_server.turns import gently

if TYPE_CHECKING:
    from lrm_server.engine.protocol import Conversation, Written
    from lrm_server.episodes.service import EpisodeService
    from lrm_server.heads.decomposer import Decomposition
    from lrm_server.heads.scorer import Scorer
    from lrm_server.trajectories.service import TrajectoryService

T = TypeVar("T")
A = TypeVar("A")
Outcome: TypeAlias = T | DomainError

_OF_THE_CALL: Final = frozenset(
    {ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED, ErrorCode.DEADLINE_EXCEEDED}
)


@dataclass(frozen=True, slots=True)
class Core:
    """What answers calls once the engine is there."""

    scorer: Scorer
    episodes: EpisodeService
    trajectories: TrajectoryService


class Calls:
    """The calls of the interface, on items that are already translated.

    Until ``attach`` every call raises UNAVAILABLE. Methods raise DomainError when a
    call fails as a whole, and cancelling one cancels its work.
    """

    def __init__(
        self, limits: Limits, runs: RunBudgets | None = None, frames: Executor | None = None
    ) -> None:
        self.limits = limits
        self.runs = runs or RunBudgets()
        self._frames = frames
        self._core: Core | None = None

    def attach(self, core: Core) -> None:
        """The engine is there: calls are answered from now on."""
        self._core = core

    @property
    def attached(self) -> bool:
        """Whether there is an engine."""
        return self._core is not None

    @property
    def catalogue(self) -> HeadCatalogue:
        """The heads that are served.

        Raises:
            DomainError: UNAVAILABLE while the engine is loading.
        """
        return self._ready().scorer.catalogue

    async def beside(self, work: Callable[..., T], *args: Any, **named: Any) -> T:
        """Work on a request's frames beside the event loop, on the threads that are for it.

        As many as the cores have use for: with more, each frame takes longer and none is
        done sooner.

        Raises:
            Exception: whatever the work raises.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._frames, partial(work, *args, **named))

    def require(self, count: int, field: str) -> None:
        """Refuses a call before any work is done for it.

        Args:
            count: how many items the call has.
            field: what they are called in the request.

        Raises:
            DomainError: UNAVAILABLE while the engine is loading, INVALID_ARGUMENT when
                there are more than a call may have.
        """
        self._ready()
        if count > self.limits.batch:
            raise invalid(
                field,
                f"the request has {count} {field} and the limit is {self.limits.batch}: "
                "send them in several requests.",
            )

    async def score(
        self, items: Sequence[Outcome[Query]], arrival: Arrival, *, patient: bool = False
    ) -> list[Outcome[Reply]]:
        """Each query's reply or error, in order; all are asked at once.

        Args:
            items: queries, or what is wrong with them.
            arrival: of the call.
            patient: wait for a place in a full engine until the deadline, for callers
                that cannot be told to come back.

        Raises:
            DomainError: no query got past the engine's door: it is down, full or late.
        """
        scorer = self._ready().scorer

        async def answer(query: Query) -> Outcome[Reply]:
            try:
                if patient:
                    reply = await when_there_is_room(lambda: scorer.score(query))
                else:
                    reply = await scorer.score(query)
            except DomainError as error:
                return error
            except Exception as error:
                return internal_error(error, head=query.head)
            return replace(reply, timings=replace(reply.timings, total_ms=arrival.elapsed_ms()))

        asked: dict[int, asyncio.Task[Outcome[Reply]]] = {}
        late: set[asyncio.Task[Outcome[Reply]]] = set()
        try:
            async for index, item in gently(enumerate(items)):
                if not isinstance(item, DomainError):
                    asked[index] = asyncio.create_task(answer(item))
            if asked:
                await asyncio.wait(asked.values(), timeout=arrival.remaining())
        finally:
            late = {task for task in asked.values() if not task.done()}
            await _give_up(late)
        outcomes: list[Outcome[Reply]] = []
        for index, item in enumerate(items):
            if isinstance(item, DomainError):
                outcomes.append(item)
            elif not asked[index].cancelled():
                outcomes.append(asked[index].result())
            else:
                outcomes.append(_late() if asked[index] in late else _given_up(item))
        _raise_if_all_failed(outcomes)
        return outcomes

    async def decompose(self, head: str, task: str, scene: str, arrival: Arrival) -> Decomposition:
        """The subtasks of a task that a head would ask about.

        Raises:
            DomainError: as ``Scorer.decompose``.
        """
        return await self._ready().scorer.decompose(head, task, scene, arrival.deadline)

    async def converse(self, conversation: Conversation, arrival: Arrival) -> Written:
        """The next turn of a conversation; waits for a place in a full engine.

        Raises:
            DomainError: the engine cannot answer, a message is wrong, or DEADLINE_EXCEEDED.
        """
        scorer = self._ready().scorer
        work = when_there_is_room(lambda: scorer.converse(conversation))
        try:
            return await asyncio.wait_for(work, arrival.remaining())
        except asyncio.TimeoutError:
            raise _late() from None

    async def open(self, items: Sequence[Outcome[EpisodeSpec]]) -> list[Outcome[OpenedEpisode]]:
        """Opens episodes; each one's answer or error, in order."""
        episodes = self._ready().episodes
        opened = await episodes.open([s for s in items if not isinstance(s, DomainError)])
        return _merge(items, opened)

    async def step(
        self, items: Sequence[Outcome[EpisodeStep]], arrival: Arrival
    ) -> list[Outcome[StepAnswer]]:
        """Steps episodes; each step's answer or error, in order.

        Raises:
            DomainError: DEADLINE_EXCEEDED when the call must be answered and its steps,
                which end at the deadline themselves, are not done.
        """
        episodes = self._ready().episodes
        work = episodes.step([step for step in items if not isinstance(step, DomainError)])
        try:
            answers = await asyncio.wait_for(work, arrival.remaining_to_answer())
        except asyncio.TimeoutError:
            raise _late() from None
        return [_timed(outcome, arrival) for outcome in _merge(items, answers)]

    async def close(self, ids: Sequence[str]) -> list[bool]:
        """Closes episodes; whether each was open."""
        return await self._ready().episodes.close(ids)

    @property
    def trajectories(self) -> TrajectoryService:
        """Who scores trajectories.

        Raises:
            DomainError: UNAVAILABLE while the engine is loading.
        """
        return self._ready().trajectories

    def open_episodes(self) -> int:
        """How many episodes are open; 0 while the engine is loading."""
        return self._core.episodes.open_count if self._core is not None else 0

    def _ready(self) -> Core:
        if self._core is None:
            raise DomainError(
                ErrorCode.UNAVAILABLE, "the engine is loading: try again when /readyz says ready."
            )
        return self._core


def _late() -> DomainError:
    return DomainError(
        ErrorCode.DEADLINE_EXCEEDED,
        "the deadline passed before the answer was there: allow more time, or ask for less at "
        "once.",
    )


def _given_up(query: Query) -> DomainError:
    return DomainError(
        ErrorCode.UNAVAILABLE,
        f"the query of head {query.head} was given up by the server: ask again.",
    )


async def _give_up(tasks: Iterable[asyncio.Task[Outcome[Reply]]]) -> None:
    """Cancels tasks and sees them end."""
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _raise_if_all_failed(outcomes: Sequence[Outcome[Reply]]) -> None:
    """A call of which nothing reached the engine failed as a whole, and can be retried so."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, DomainError)]
    if errors and len(errors) == len(outcomes) and all(e.code in _OF_THE_CALL for e in errors):
        raise DomainError(
            errors[0].code,
            errors[0].message,
            retry_after_seconds=max(
                (e.retry_after_seconds for e in errors if e.retry_after_seconds is not None),
                default=None,
            ),
        )


def _merge(items: Sequence[Outcome[T]], answers: Sequence[Outcome[A]]) -> list[Outcome[A]]:
    """Puts the answers of the items that were sound where those items were."""
    left = iter(answers)
    return [item if isinstance(item, DomainError) else next(left) for item in items]


def _timed(outcome: Outcome[StepAnswer], arrival: Arrival) -> Outcome[StepAnswer]:
    if isinstance(outcome, DomainError):
        return outcome
    timings: Timings = replace(outcome.timings, total_ms=arrival.elapsed_ms())
    return replace(outcome, timings=timings)
