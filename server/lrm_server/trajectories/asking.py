"""One trajectory on its way: which frames each moment's queries are given, and asking them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from lrm_server.episodes.asking import ask
from lrm_server.episodes.decoded import DecodedFrames
from lrm_server.episodes.queries import looks_at
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Frame
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query, Reply, WindowFrame
from lrm_server.heads.scorer import Scorer
from lrm_server.heads.window import Window, thinned
from lrm_server.trajectories.checks import OF_THE_SPEC
from lrm_server.trajectories.types import (
    Moment,
    Outcome,
    Point,
    TrajectoryLimits,
    TrajectorySpec,
    Windows,
)
from lrm_server.trajectories.windows import Kept

RETRY_SECONDS: Final = 0.1
"""How long a query waits that found the server full, where it was not told."""


class Asking:
    """Scores the moments of one trajectory, several at a time.

    A moment is compared with the last one before it whose frames could be decoded, and
    with the first such. That is settled in the order of time and by the frames alone; the
    queries then run side by side, and one that fails changes no other.

    Args:
        spec: what is asked; already checked.
        scorer: who is asked.
        limits: of a trajectory.
        decoded: room for pixels, shared with other trajectories.
        executor: where frames are decoded; the event loop's own when None.
        arrived: time.monotonic() seconds at which the call came.
        deadline: time.monotonic() seconds after which nothing is asked.
    """

    def __init__(
        self,
        spec: TrajectorySpec,
        scorer: Scorer,
        limits: TrajectoryLimits,
        decoded: DecodedFrames,
        executor: Executor | None,
        arrived: float,
        deadline: float,
    ) -> None:
        self._spec = spec
        self._scorer = scorer
        self._decoded = decoded
        self._executor = executor
        self._arrived = arrived
        self._deadline = deadline
        heads = [scorer.catalogue[name] for name in spec.heads]
        self._single = [head for head in heads if head.window is None]
        self._windowed = [(head, found) for head in heads if (found := head.window)]
        self._order = asyncio.Lock()
        self._slots = asyncio.Semaphore(limits.max_queries)
        self._initial: tuple[Frame, ...] | None = None
        self._previous: Frame | None = None
        self._kept = Kept(spec.views, limits.max_bytes)
        self._checked: set[str] = set()

    @property
    def needs_last(self) -> bool:
        """Whether it must be known of a moment that none follows before it is scored."""
        return bool(self._windowed) and self._spec.windows is Windows.WHOLE

    async def point(self, moment: Moment, *, last: bool, fps: float | None) -> Point:
        """Scores a moment. To be started in the order of time; moments then run side by side.

        Args:
            moment: the next one.
            last: whether none follows; counts only where ``needs_last``.
            fps: frames a second, where known.

        Raises:
            DomainError: INVALID_ARGUMENT of the specification: a head refuses what all of
                its queries have alike.
        """
        windowed = self._windowed if last or not self.needs_last else []
        outcomes: dict[str, Outcome] = {}
        tasks: list[asyncio.Task[Outcome]] = []
        try:
            async with AsyncExitStack() as held:
                async with self._order:
                    self._kept.came(moment)
                    try:
                        frames = await self._good_frames(moment, held)
                    except DomainError as error:
                        return self._failed(moment, error, windowed)
                    queries = self._take(moment, frames)
                    windows = self._window_queries(windowed, fps, outcomes)
                    for query in (*queries, *(query for query, _ in windows)):
                        self._check(query)
                # Windows find room of their own, and are waited for when this room is given back.
                tasks = [
                    asyncio.create_task(self._answer_window(*asked), name=asked[0].head)
                    for asked in windows
                ]
                answers = await asyncio.gather(*map(self._answer, queries))
            outcomes |= {query.head: each for query, each in zip(queries, answers, strict=True)}
            outcomes |= {task.get_name(): await task for task in tasks}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._ordered(moment, outcomes)

    async def _good_frames(self, moment: Moment, held: AsyncExitStack) -> tuple[Frame, ...]:
        """The moment's frames, decoded, in room that is held with those to compare with.

        Raises:
            DomainError: one of them was refused, has another size than the first moment's,
                or cannot be decoded.
        """
        frames = tuple(_usable(frame) for frame in moment.frames)
        for first, frame in zip(self._initial or frames, frames, strict=True):
            if (frame.height, frame.width) != (first.height, first.width):
                raise invalid(
                    "frame",
                    f"the frame is {frame.height}x{frame.width} pixels and the first one "
                    f"{first.height}x{first.width}: send all frames in one size.",
                )
        seen = {*frames, *(self._initial or ())[:1]}
        if self._previous is not None:
            seen.add(self._previous)
        await held.enter_async_context(self._decoded.hold(seen, self._deadline))
        loop = asyncio.get_running_loop()
        for frame in frames:
            if not frame.ready:
                try:
                    await loop.run_in_executor(self._executor, frame.pixels)
                except DomainError as error:
                    raise _of_frame(error) from error
        return frames

    def _take(self, moment: Moment, frames: tuple[Frame, ...]) -> list[Query]:
        """The queries of heads of single frames; the moment is the previous one from now on."""
        if self._initial is None:
            for frame in frames:
                frame.detach()
            self._initial = frames
        if self._windowed:
            self._kept.add(moment, frames)
        found = {Role.INITIAL: self._initial[0], Role.CURRENT: frames[0]}
        if self._previous is not None:
            found[Role.PREVIOUS] = self._previous
        queries = [
            replace(
                self._query(head.name),
                frames={role: frame for role, frame in found.items() if looks_at(head, role)},
            )
            for head in self._askable()
        ]
        self._previous = frames[0]
        return queries

    def _askable(self) -> list[ServedHead]:
        """Heads of single frames that can be asked now: a first frame is compared with none."""
        if self._previous is not None:
            return self._single
        return [head for head in self._single if Role.PREVIOUS not in head.required_frames]

    def _window_queries(
        self,
        windowed: Sequence[tuple[ServedHead, Window]],
        fps: float | None,
        failed: dict[str, Outcome],
    ) -> list[tuple[Query, Window]]:
        """The queries of heads that look at a window; those that cannot be made go to ``failed``.

        Prefixes that are too short for a head are not asked.
        """
        queries = []
        for head, window in windowed:
            if self._spec.windows is Windows.PREFIXES and len(self._kept) < window.min_frames:
                continue
            try:
                frames = self._kept.window(fps)
            except DomainError as error:
                failed[head.name] = error
            else:
                queries.append((replace(self._query(head.name), window=frames, fps=fps), window))
        return queries

    def _query(self, head: str) -> Query:
        spec = self._spec
        return Query(
            head=head,
            task=spec.task,
            readout=spec.readout,
            use=spec.use,
            swap=spec.swap,
            margin=spec.margin,
            return_text=spec.return_text,
            scene=spec.scene,
            subtasks=spec.subtasks,
            deadline=self._deadline,
        )

    def _check(self, query: Query) -> None:
        """Raises what is wrong with every query of a head, when it is first asked."""
        if query.head in self._checked:
            return
        # A video of one frame needs no rate: what is wrong with longer ones shows later.
        if len(query.window) != 1:
            self._checked.add(query.head)
        try:
            self._scorer.check(query)
        except DomainError as error:
            if error.field.partition("[")[0] in OF_THE_SPEC:
                raise

    async def _answer_window(self, query: Query, window: Window) -> Outcome:
        async with self._slots:
            by_view: dict[str, list[WindowFrame]] = {}
            for entry in query.window:
                by_view.setdefault(entry.view, []).append(entry)
            shown = [
                entries[at].frame
                for entries in by_view.values()
                for at in thinned(len(entries), window.max_frames)
            ]
            try:
                async with self._decoded.hold(shown, self._deadline):
                    return await self._asked(query)
            except DomainError as error:
                return error

    async def _answer(self, query: Query) -> Outcome:
        async with self._slots:
            return await self._asked(query)

    async def _asked(self, query: Query) -> Outcome:
        """The outcome of a query; one that finds the server full comes back later."""
        while True:
            outcome = (await ask(self._scorer, [query]))[query.head]
            if isinstance(outcome, Reply):
                total_ms = 1000.0 * (time.monotonic() - self._arrived)
                return replace(outcome, timings=replace(outcome.timings, total_ms=total_ms))
            wait = outcome.retry_after_seconds or RETRY_SECONDS
            late = time.monotonic() + wait >= self._deadline
            if outcome.code is not ErrorCode.OVERLOADED or late:
                return outcome
            await asyncio.sleep(wait)

    def _failed(
        self,
        moment: Moment,
        error: DomainError,
        windowed: Sequence[tuple[ServedHead, Window]],
    ) -> Point:
        """A moment without frames: every head that looks at it failed."""
        heads = [*self._single, *(head for head, _ in windowed)]
        return self._ordered(moment, {head.name: error for head in heads})

    def _ordered(self, moment: Moment, outcomes: dict[str, Outcome]) -> Point:
        asked = {name: outcomes[name] for name in self._spec.heads if name in outcomes}
        return Point(moment.index, moment.time, asked)


def _usable(frame: Frame | DomainError) -> Frame:
    if isinstance(frame, DomainError):
        raise _of_frame(frame)
    return frame


def _of_frame(error: DomainError) -> DomainError:
    return error if error.field else error.within("frame")
