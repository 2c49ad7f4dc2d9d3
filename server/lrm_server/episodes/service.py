"""Episodes are opened, stepped and closed here; whatever fails does so for one item alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TypeAlias
from weakref import WeakValueDictionary

import structlog

from lrm_client.clock import Source
from lrm_server.deadlines import within
from lrm_server.episodes.asking import ask, in_step, timings_of
from lrm_server.episodes.decoded import MAX_DECODED_BYTES, DecodedFrames
from lrm_server.episodes.opening import MAX_ID_LENGTH, checked_spec, opened_reply
from lrm_server.episodes.queries import query_of
from lrm_server.episodes.state import (
    Episode,
    check_request_id,
    due,
    frame_bytes_if_answered,
    frames_for,
    frames_looked_at,
    needed_frame,
    open_episode,
    recall,
    settle,
    with_frames,
)
from lrm_server.episodes.store import EpisodeStore
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, OpenedEpisode, StepAnswer
from lrm_server.episodes.windows import window_for
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Frame
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.scorer import Scorer
from lrm_server.turns import gently

logger = structlog.get_logger(__name__)

RewardObserver: TypeAlias = Callable[[Mapping[tuple[str, Source], int]], None]
"""Told after each batch how many rewards of each (head, source) it gave; retries give none."""


class EpisodeService:
    """Runs episodes on the clock.

    Used from one event loop. Steps of different episodes are taken at once, steps of one
    episode one after the other. A step is taken whole or not at all: one whose caller is
    cancelled, or whose frame is refused, leaves its episode as it was.

    Args:
        scorer: who answers the queries.
        store: where episodes live.
        executor: threads that decode frames; the event loop's own when None.
        observer: told of the rewards that were given.
        max_decoded_bytes: bytes of pixels (height x width x 3) that steps hold decoded at
            once; steps beyond it wait for others to end. A step that is over it by itself
            is taken alone.
    """

    def __init__(
        self,
        scorer: Scorer,
        store: EpisodeStore,
        *,
        executor: Executor | None = None,
        observer: RewardObserver | None = None,
        max_decoded_bytes: int = MAX_DECODED_BYTES,
    ) -> None:
        self._scorer = scorer
        self._store = store
        self._executor = executor
        self._observer = observer
        self._decoded = DecodedFrames(max_decoded_bytes)
        self._given: Counter[tuple[str, Source]] = Counter()
        # Of episodes of which a step is being taken or waited for; gone with the last of them.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def open_count(self) -> int:
        """Episodes that are open now."""
        return self._store.open_count

    @property
    def frame_bytes(self) -> int:
        """Bytes of frames that open episodes keep."""
        return self._store.frame_bytes

    async def open(self, specs: Iterable[EpisodeSpec]) -> list[OpenedEpisode | DomainError]:
        """Opens episodes.

        Opening an id again with the same specification succeeds with the answer that it
        had at first; the episode stays where it stands.

        Returns:
            One per specification, in order. Errors: INVALID_ARGUMENT, UNKNOWN_HEAD,
            EPISODE_EXISTS, OVERLOADED, their fields relative to the specification.
        """
        return [await self._open(spec) for spec in specs]

    async def step(self, steps: Sequence[EpisodeStep]) -> list[StepAnswer | DomainError]:
        """Takes a batch of steps.

        Returns:
            One per step, in order. A query that failed is part of an answer; errors are
            steps that were not taken: EPISODE_NOT_FOUND, STEP_BEHIND, FRAME_REQUIRED,
            EPISODE_ENDED, OVERLOADED (no room for the frame), DEADLINE_EXCEEDED (before
            its queries could be asked), INVALID_ARGUMENT, and of the frame
            IMAGE_UNDECODABLE or IMAGE_TOO_LARGE; their fields are relative to the step.
        """
        outcomes: dict[int, StepAnswer | DomainError] = {}
        waiting: dict[str, list[int]] = {}
        try:
            for place, step in enumerate(steps):
                # Most steps need no query: they are answered here, without a task.
                if step.episode not in waiting and step.episode not in self._turns:
                    outcome = await self._take(step, may_query=False)
                    if outcome is not None:
                        outcomes[place] = outcome
                        continue
                waiting.setdefault(step.episode, []).append(place)
            groups = [
                (self._turns.setdefault(episode_id, asyncio.Lock()), places)
                for episode_id, places in waiting.items()
            ]
            async with asyncio.TaskGroup() as taking:
                async for turn, places in gently(groups):
                    mine = [(place, steps[place]) for place in places]
                    taking.create_task(self._take_in_turn(turn, mine, outcomes))
        finally:
            self._report()
        return [outcomes[place] for place in range(len(steps))]

    async def close(self, episode_ids: Iterable[str]) -> list[bool]:
        """Closes episodes and forgets their frames; whether each was open.

        A step that is being taken meanwhile is answered with EPISODE_NOT_FOUND.
        """
        return [await self._store.remove(episode_id) for episode_id in episode_ids]

    async def _open(self, spec: EpisodeSpec) -> OpenedEpisode | DomainError:
        try:
            checked = checked_spec(spec, self._scorer)
            kept = await self._store.add(open_episode(checked, self._scorer.catalogue))
            if kept.spec != checked:
                return DomainError(
                    ErrorCode.EPISODE_EXISTS,
                    f"episode {checked.id!r} is open with another specification: close it "
                    "first, or choose another id.",
                    field="id",
                )
            return opened_reply(checked, self._scorer.catalogue)
        except DomainError as error:
            return error
        except Exception:
            logger.exception("an episode was not opened", episode=spec.id)
            return _broken()

    async def _take_in_turn(
        self,
        turn: asyncio.Lock,
        steps: Sequence[tuple[int, EpisodeStep]],
        outcomes: dict[int, StepAnswer | DomainError],
    ) -> None:
        """Takes steps of one episode, in order, when those before them are done."""
        try:
            # The step before may be of another caller, who waits longer.
            async with within(steps[0][1].deadline):
                await turn.acquire()
        except DomainError as error:
            outcomes.update((place, error) for place, _ in steps)
            return
        try:
            for place, step in steps:
                outcome = await self._take(step, may_query=True)
                if outcome is not None:
                    outcomes[place] = outcome
        finally:
            turn.release()

    async def _take(self, step: EpisodeStep, *, may_query: bool) -> StepAnswer | DomainError | None:
        """Takes a step; None, with nothing done, when it needs its frame and may not query."""
        try:
            check_request_id(step)
            episode = await self._find(step.episode)
            known = recall(episode, step)
            if known is not None:
                return known
            heads = due(episode, step)
            if step.step == 0 or heads:
                return await self._take_with_frame(episode, step, heads) if may_query else None
            after, answer = settle(episode, step)
            await self._commit(episode, after, answer)
        except DomainError as error:
            return error
        except Exception:
            logger.exception("a step was not taken", episode=step.episode, step=step.step)
            return _broken()
        return answer

    async def _take_with_frame(
        self, episode: Episode, step: EpisodeStep, due_heads: Sequence[str]
    ) -> StepAnswer:
        """Takes step 0, or a step that is due. Nothing has moved when it raises."""
        began = time.perf_counter()
        frame = needed_frame(step)
        served = self._scorer.catalogue
        asked = [served[name] for name in due_heads]
        looked_at = {frame}.union(*(frames_looked_at(episode, each, step, frame) for each in asked))
        async with self._decoded.hold(looked_at, step.deadline):
            let_in = time.perf_counter()
            await self._decode(frame, step.deadline)
            decode_ms = _milliseconds_since(let_in)
            queries = self._queries(episode, step, due_heads, frame)
            heads = [served[name] for name in episode.spec.heads]
            room = frame_bytes_if_answered(episode, step, due_heads, heads, frame)
            try:
                await self._store.reserve(episode, max(room, episode.frame_bytes))
                outcomes = await ask(self._scorer, queries)
                timings = timings_of(outcomes.values(), decode_ms, _milliseconds_since(began))
                after, answer = settle(episode, step, outcomes, timings)
                given = [name for name, each in outcomes.items() if isinstance(each, Reply)]
                after = with_frames(after, heads, step, frame, given)
                for each in after.frames.values():
                    each.detach()
                await self._commit(episode, after, answer)
            except BaseException:
                await self._store.reserve(episode, episode.frame_bytes)
                raise
        return answer

    async def _find(self, episode_id: str) -> Episode:
        episode = await self._store.get(episode_id)
        if episode is None:
            raise DomainError(
                ErrorCode.EPISODE_NOT_FOUND,
                f"episode {episode_id[:MAX_ID_LENGTH]!r} is not open here: it was never opened, "
                "was closed, or was forgotten after a long time without a step. Open it again "
                "with step 0 and its initial frame, then force a query of the last frame that "
                "was queried.",
                field="episode",
            )
        return episode

    async def _decode(self, frame: Frame, deadline: float | None) -> None:
        if frame.ready:
            return
        loop = asyncio.get_running_loop()
        async with within(deadline):
            try:
                await loop.run_in_executor(self._executor, frame.pixels)
            except DomainError as error:
                raise in_step(error, "frame") from error

    def _queries(
        self, episode: Episode, step: EpisodeStep, due_heads: Iterable[str], frame: Frame
    ) -> list[Query]:
        """The queries of a step; a frame that they cannot take refuses the step."""
        catalogue = self._scorer.catalogue
        queries = []
        for name in due_heads:
            frames = frames_for(episode, catalogue[name], frame)
            window = window_for(episode.windows, catalogue[name], episode.frames, step.step, frame)
            query = query_of(episode.spec, name, frames, step.deadline, window)
            try:
                self._scorer.check(query)
            except DomainError as error:
                raise in_step(error) from error
            queries.append(query)
        return queries

    async def _commit(self, before: Episode, after: Episode, answer: StepAnswer) -> None:
        if not await self._store.replace(before, after):
            raise DomainError(
                ErrorCode.EPISODE_NOT_FOUND,
                f"episode {answer.episode!r} was closed while its step {answer.step} was taken.",
                field="episode",
            )
        for head in answer.rewards:
            self._given[head.head, head.source] += 1

    def _report(self) -> None:
        given, self._given = self._given, Counter()
        if given and self._observer is not None:
            self._observer(given)


def _milliseconds_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000.0


def _broken() -> DomainError:
    return DomainError(ErrorCode.INTERNAL, "the server failed here; its log says why.")
