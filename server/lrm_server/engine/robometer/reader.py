"""Asks a Robometer in vLLM: one prefill for a trajectory, one frame's for a frame more."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import Any

from vllm.inputs import MultiModalInput, TokensInput
from vllm.multimodal.inputs import PlaceholderRange
from vllm.outputs import PoolingRequestOutput
from vllm.pooling_params import PoolingParams
from vllm.v1.engine.async_llm import AsyncLLM

from lrm_server import deadlines
from lrm_server.callers import Caller
from lrm_server.engine.admission import Admission
from lrm_server.engine.frame_inputs import FrameInput, FrameInputs
from lrm_server.engine.frame_reader import FrameQuestion, FrameReadings
from lrm_server.engine.media_inputs import Placed, as_request
from lrm_server.engine.protocol import EngineStatus, EngineTimings, FrameSlot, frames_of
from lrm_server.engine.robometer.kept import Answers, KeptAnswers
from lrm_server.engine.robometer.pooler import TASK, rows_by_position
from lrm_server.engine.robometer.prompts import FramePrompts, Turn
from lrm_server.engine.robometer.structure import PREFERENCE, PROGRESS
from lrm_server.engine.sent_media import Items, SentMedia
from lrm_server.engine.supervision import SupervisedLLM, unavailable
from lrm_server.engine.vllm_requests import VLLM_PRIORITY, last_of
from lrm_server.errors import DomainError, ErrorCode, invalid, named

_LACKS_PATCHES = "multimodal_cache_miss"
"""vLLM's word for a core that was not sent patches and does not have them."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How much is remembered of what an engine was asked.

    Attributes:
        answers: tokens whose answers are kept, some 300 bytes each.
        core_bytes: of the core's cache of patches; 0 where it has none.
    """

    answers: int
    core_bytes: int


@dataclass(frozen=True, slots=True)
class _Engine:
    """One started engine, and what is known about it: another has to prove its own answers."""

    llm: AsyncLLM
    kept: KeptAnswers
    sent: SentMedia


class RobometerReader:
    """Implements ``engine.protocol.FrameReader`` on one supervised vLLM."""

    def __init__(
        self,
        llm: SupervisedLLM,
        prompts: FramePrompts,
        frames: FrameInputs,
        admission: Admission,
        memory: Memory,
        fingerprint: str,
        max_model_len: int,
    ) -> None:
        self._llm = llm
        self._prompts = prompts
        self._frames = frames
        self._admission = admission
        self._memory = memory
        self._engine: _Engine | None = None
        self._fingerprint = fingerprint
        self._max_model_len = max_model_len
        self._ids = itertools.count()

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the preparation of frames."""
        return self._fingerprint

    async def status(self) -> EngineStatus:
        """Asks the engine's core, not a flag beside it."""
        return self._admission.status(await self._llm.trouble())

    async def read_frames(self, question: FrameQuestion) -> FrameReadings:
        """Reads the heads at the turn's progress and preference tokens."""
        async with self._admission.enter(question.deadline, frames_of(question.parts)) as place:
            began = time.monotonic()
            turn = await self._turn(question)
            asked = time.monotonic()
            answers, computed = await self._answers(turn, self._current(), place.caller)
            spent_ms = 1000 * (time.monotonic() - asked)
            place.took(computed)
        by_kind: dict[str, list[Answers]] = {PROGRESS: [], PREFERENCE: []}
        for token, answer in zip(turn.read, answers, strict=True):
            by_kind[token.text].append(answer)
        preferred = by_kind[PREFERENCE]
        return FrameReadings(
            progress=tuple(progress for progress, _, _ in by_kind[PROGRESS]),
            success=tuple(success for _, success, _ in by_kind[PROGRESS]),
            preference=preferred[-1][2] if preferred else None,
            prompt_tokens=len(turn.tokens),
            computed_tokens=computed,
            timings=EngineTimings(1000 * (asked - began), place.waited_ms, spent_ms),
        )

    async def _turn(self, question: FrameQuestion) -> Turn:
        slots = [part for part in question.parts if isinstance(part, FrameSlot)]
        frames = await asyncio.gather(*(self._prepare(slot) for slot in slots))
        # Frames may have waited for threads: nothing that is too late goes further.
        deadlines.check(question.deadline)
        turn = self._prompts.turn(question.parts, frames)
        if len(turn.tokens) >= self._max_model_len:
            raise invalid(
                "",
                f"the frames take {len(turn.tokens)} tokens and the limit is "
                f"{self._max_model_len}: send fewer or smaller frames, or raise max_model_len.",
            )
        return turn

    async def _prepare(self, slot: FrameSlot) -> FrameInput:
        with named(slot.name):
            return await self._frames.get(slot.frame)

    def _current(self) -> _Engine:
        llm = self._llm.current()
        if self._engine is None or self._engine.llm is not llm:
            self._engine = _Engine(
                llm, KeptAnswers(self._memory.answers), SentMedia(self._memory.core_bytes)
            )
        return self._engine

    async def _answers(
        self, turn: Turn, engine: _Engine, caller: Caller
    ) -> tuple[list[Answers], int]:
        """The heads' answers at each read token, and how many tokens were computed for them.

        What lies in a prefix that the engine knows is not computed again, so its
        answers come from those kept. Where they are gone, all is computed again.
        """
        kept = engine.kept
        keys = [token.key for token in turn.read]
        # Who asks for the last answer asks for all: several heads read the same window.
        await kept.settled(keys[-1:])
        if (found := kept.all_of(keys)) is not None:
            return found, 0
        computed = await self._compute(turn, engine, caller, from_cache=True)
        if (found := kept.all_of(keys)) is not None:
            return found, computed
        # The prefix may be that of a request that still runs and has not answered.
        await kept.settled([key for key in keys if kept.get(key) is None])
        if (found := kept.all_of(keys)) is not None:
            return found, computed
        computed += await self._compute(turn, engine, caller, from_cache=False)
        if (found := kept.all_of(keys)) is not None:
            return found, computed
        raise DomainError(
            ErrorCode.INTERNAL,
            f"the engine gave no answer for some of {len(keys)} frames: ask about fewer at once.",
        )

    async def _compute(
        self, turn: Turn, engine: _Engine, caller: Caller, *, from_cache: bool
    ) -> int:
        """Keeps the answers at the tokens that the engine computes; returns how many those are."""
        params = PoolingParams(task=TASK, skip_reading_prefix_cache=not from_cache)
        with engine.kept.computing([token.key for token in turn.read]):
            output = await engine.sent.ask(
                turn.frames,
                lambda items: self._run(_request(turn, items), engine, caller, params),
                lambda output: output.error is not None and output.error.code == _LACKS_PATCHES,
            )
            if output.error is not None or not output.finished:
                raise unavailable("the engine dropped the question")
            rows = rows_by_position(output.outputs.data)
            engine.kept.keep(
                {token.key: rows[token.position] for token in turn.read if token.position in rows}
            )
        return len(turn.tokens) - output.num_cached_tokens

    async def _run(
        self,
        request: TokensInput | MultiModalInput,
        engine: _Engine,
        caller: Caller,
        params: PoolingParams,
    ) -> PoolingRequestOutput[Any]:
        """Sends one request and waits for its end; cancelling aborts it in the engine."""
        number, priority = next(self._ids), VLLM_PRIORITY[caller.priority]
        return await last_of(engine.llm.encode(request, params, f"lrm-{number}", priority=priority))


def _request(turn: Turn, items: Items) -> TokensInput | MultiModalInput:
    places = [
        PlaceholderRange(offset=at, length=frame.tokens)
        for at, frame in zip(turn.images, turn.frames, strict=True)
    ]
    return as_request(Placed(turn.tokens, places), (), turn.frames, items)
