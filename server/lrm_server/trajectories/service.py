"""Scores trajectories: a bounded number at once, each with a bounded number of queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Final

from lrm_server.deadlines import within
from lrm_server.episodes.decoded import DecodedFrames
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.scorer import Scorer
from lrm_server.trajectories.asking import Asking
from lrm_server.trajectories.checks import check_spec
from lrm_server.trajectories.summary import Tally
from lrm_server.trajectories.types import (
    Moment,
    Point,
    Source,
    Summary,
    TrajectoryLimits,
    TrajectorySpec,
)

RETRY_SECONDS: Final = 5.0
"""When to come back to a server that scores as many trajectories as it may."""


class TrajectoryService:
    """Scores trajectories on a scorer; used from one event loop.

    Attributes:
        limits: what a trajectory may be.
    """

    def __init__(
        self, scorer: Scorer, limits: TrajectoryLimits, executor: Executor | None = None
    ) -> None:
        """A service of ``scorer``; ``executor`` decodes frames, the event loop's own when None."""
        self.limits = limits
        self.executor = executor
        self._scorer = scorer
        self._decoded = DecodedFrames()
        self._running = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds one of the places for trajectories; to be taken before anything is read.

        Raises:
            DomainError: OVERLOADED, all are taken.
        """
        if self._running >= self.limits.max_trajectories:
            raise DomainError(
                ErrorCode.OVERLOADED,
                f"{self._running} trajectories are being scored and no more may be: wait, or "
                "raise max_trajectories on the server.",
                retry_after_seconds=RETRY_SECONDS,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def check(self, spec: TrajectorySpec) -> None:
        """Refuses what no frames could make right.

        Raises:
            DomainError: UNKNOWN_HEAD, or INVALID_ARGUMENT, naming the field.
        """
        check_spec(spec, self._scorer.catalogue)

    async def score(
        self, spec: TrajectorySpec, source: Source, *, arrived: float, deadline: float
    ) -> AsyncGenerator[Point | Summary, None]:
        """The points in order, each as soon as it is there, then the summary.

        The source is read no faster than its moments are scored. Closing the iterator
        gives up what is being asked.

        Args:
            spec: what is asked.
            source: where the moments come from.
            arrived: time.monotonic() seconds at which the call came.
            deadline: time.monotonic() seconds after which nothing is read or asked.

        Raises:
            DomainError: the trajectory failed as a whole; the points before it stand.
        """
        self.check(spec)
        asking = Asking(
            spec, self._scorer, self.limits, self._decoded, self.executor, arrived, deadline
        )
        tally = Tally(spec.heads, spec.normalise)
        points: asyncio.Queue[asyncio.Task[Point] | None] = asyncio.Queue(self.limits.max_queries)
        started: set[asyncio.Task[Point]] = set()

        async def read() -> None:
            try:
                async with within(deadline):
                    async for moment, last in _told_last(source, asking.needs_last):
                        work = asking.point(moment, last=last, fps=source.fps)
                        task = asyncio.create_task(work)
                        started.add(task)
                        task.add_done_callback(started.discard)
                        await points.put(task)
            finally:
                if not given_up:
                    await points.put(None)

        given_up = False
        reading = asyncio.create_task(read())
        try:
            while (task := await points.get()) is not None:
                point = await task
                if not tally.points:
                    _raise_if_away(point)
                tally.add(point)
                yield point
            await reading
        finally:
            given_up = True
            left = [reading, *started]
            for each in left:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        yield Summary(frames=source.count, points=tally.points, fps=source.fps, heads=tally.heads())


async def _told_last(source: Source, wanted: bool) -> AsyncIterator[tuple[Moment, bool]]:
    """Each moment, and whether it is the last; one is held back where that is wanted."""
    held: Moment | None = None
    async for moment in source:
        if not wanted:
            yield moment, False
            continue
        if held is not None:
            yield held, False
        held = moment
    if held is not None:
        yield held, True


def _raise_if_away(point: Point) -> None:
    """A trajectory whose first point found no engine failed as a whole, and can be retried so."""
    errors = [each for each in point.outcomes.values() if isinstance(each, DomainError)]
    if errors and len(errors) == len(point.outcomes):
        for error in errors:
            if error.code is ErrorCode.UNAVAILABLE:
                raise error
