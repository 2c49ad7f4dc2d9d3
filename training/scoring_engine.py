"""Scores through the server's engine: prompts, frames and readout are those of a request."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

from lrm_server.engine.protocol import AnswerForm, Engine, FrameSlot, LabelReading, Question
from lrm_server.frames import Encoding, FrameLimits, open_frame
from lrm_server.heads.answer import normalise
from lrm_server.heads.profile import Role
from lrm_server.heads.prompt import render_turn
from training.prompts import profile_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from training.scoring import Probabilities, Query


def question_of(query: Query) -> Question:
    """The engine's question for a query."""
    profile = profile_of(query.head)
    frames = {
        Role(role): FrameSlot(open_frame(jpeg, Encoding.JPEG, FrameLimits()))
        for role, jpeg in query.frames.items()
    }
    turn = render_turn(profile, query.task, frames.keys())
    parts = tuple(frames[part] if isinstance(part, Role) else part for part in turn.parts)
    labels = tuple(label.written for label in profile.labels)
    form = AnswerForm(profile.answer_prefix, labels, profile.terminator, profile.max_answer_tokens)
    return Question(parts, form)


@contextmanager
def engine_scorer(checkpoint: Path) -> Iterator[EngineScorer]:
    """An engine on a checkpoint, for as long as the block lasts."""
    from lrm_server.engine.environment import prepare_environment

    prepare_environment()
    from lrm_server.engine.start import EngineOptions, open_engine

    async def proof() -> None:
        """The figures themselves show what the checkpoint answers."""

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opening = open_engine(checkpoint, {}, EngineOptions(enforce_eager=True))
        engine, llm = runner.run(stack.enter_async_context(opening))
        try:
            runner.run(llm.prove(proof))
            yield EngineScorer(engine, runner.get_loop())
        finally:
            runner.run(stack.aclose())


class EngineScorer:
    """Reads the labels at the forced slot of an engine that runs."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, at_once: int = 64) -> None:
        self.engine = engine
        self.loop = loop
        self.at_once = at_once

    def __call__(self, queries: Sequence[Query]) -> list[Probabilities]:
        """The labels' probabilities for each query."""
        readings = self.loop.run_until_complete(self._read(queries))
        return [
            _normalised(query, reading) for query, reading in zip(queries, readings, strict=True)
        ]

    async def _read(self, queries: Sequence[Query]) -> list[LabelReading]:
        # The engine refuses what is beyond its queue, so only so many are asked at once.
        gate = asyncio.Semaphore(self.at_once)

        async def ask(query: Query) -> LabelReading:
            async with gate:
                return await self.engine.read_forced(question_of(query))

        return await asyncio.gather(*(ask(query) for query in queries))


def _normalised(query: Query, reading: LabelReading) -> Probabilities:
    """Label -> probability, as a reply has them; a model that does not answer is an error."""
    return dict(normalise(profile_of(query.head), reading.logprobs).probabilities)
