"""Answers queries: checks them, asks the engine, turns what it read into a reply."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from lrm_server.engine.protocol import (
    AnswerForm,
    Engine,
    EngineStatus,
    EngineTimings,
    FrameSlot,
    Question,
)
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Frame
from lrm_server.heads.answer import average_orders, combine, decide, normalise, parse_answer
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.profile import CompositeProfile, LabelProfile, Readout, Role, Use
from lrm_server.heads.prompt import render_turn
from lrm_server.heads.query import Query, Reply, Timings

MAX_TASK_CHARACTERS = 2000

# Of a composite head's part: what the caller did or must wait for keeps its name.
_MODEL_ERRORS = frozenset(
    {
        ErrorCode.LABEL_MASS_LOW,
        ErrorCode.ANSWER_UNPARSABLE,
        ErrorCode.ANSWER_NOT_REACHED,
        ErrorCode.INTERNAL,
    }
)


class HeadScorer:
    """Implements ``heads.scorer.Scorer`` on an engine.

    Attributes:
        engine: who is asked.
    """

    def __init__(self, engine: Engine, catalogue: HeadCatalogue) -> None:
        self.engine = engine
        self._catalogue = catalogue

    @property
    def catalogue(self) -> HeadCatalogue:
        """The heads that are served."""
        return self._catalogue

    async def status(self) -> EngineStatus:
        """Asks the engine itself whether it can answer."""
        return await self.engine.status()

    def check(self, query: Query) -> None:
        """Everything that is wrong with a query and can be known without the engine.

        Raises:
            DomainError: UNKNOWN_HEAD, or INVALID_ARGUMENT of the task, the frames
                by role, their sizes, the readout or the margin.
        """
        head = self._catalogue[query.head]
        if not query.task.strip():
            raise invalid("task", "the task is empty: say in words what the robot is to do.")
        if len(query.task) > MAX_TASK_CHARACTERS:
            raise invalid(
                "task",
                f"the task has {len(query.task)} characters and the limit is "
                f"{MAX_TASK_CHARACTERS}: shorten it.",
            )
        if query.margin is not None and not 0.0 <= query.margin <= 0.5:
            raise invalid("margin", f"the margin is {query.margin:g}; it lies in [0, 0.5].")
        if query.fps is not None and not query.fps > 0:
            raise invalid("fps", f"fps is {query.fps:g}; it must be above 0.")
        _check_frames(head, query.frames)
        if query.window:
            raise invalid(
                "window", f"head {head.name} looks at single frames: send them by their roles."
            )
        for part in self._label_heads(head):
            if (query.readout or part.readout) is Readout.GENERATE:
                if query.use is Use.EXPECTED:
                    raise invalid(
                        "use",
                        "the readout generate gives no probabilities to expect with: use label, "
                        "or the readout likelihood.",
                    )
                if query.swap and _pair(part) is not None:
                    raise invalid(
                        "swap",
                        "the readout generate gives no log-odds to average: leave swap off, or "
                        "use the readout likelihood.",
                    )
            _check_pair(part, query.frames)

    async def score(self, query: Query) -> Reply:
        """The reply to one query; cancelling aborts the work.

        Raises:
            DomainError: the query failed; its field is relative to the query.
        """
        self.check(query)
        head = self._catalogue[query.head]
        if isinstance(head.profile, CompositeProfile):
            return await self._score_composite(head, head.profile, query)
        return await self._score_labels(head, head.profile, query)

    def _label_heads(self, head: ServedHead) -> list[ServedHead]:
        return [self._catalogue[name] for name in head.parts] if head.parts else [head]

    async def _score_composite(
        self, head: ServedHead, profile: CompositeProfile, query: Query
    ) -> Reply:
        parts = [self._catalogue[part.head] for part in profile.components]
        outcomes = await asyncio.gather(
            *(self.score(_part_query(query, part)) for part in parts), return_exceptions=True
        )
        replies: dict[str, Reply] = {}
        for part, outcome in zip(parts, outcomes, strict=True):
            if isinstance(outcome, DomainError):
                raise _of_component(head.name, part.name, outcome) from outcome
            if isinstance(outcome, BaseException):
                raise outcome
            replies[part.name] = outcome
        value, expected = combine(profile, replies, use=query.use or Use.LABEL)
        timings = [reply.timings for reply in replies.values()]
        return Reply(
            head=head.name,
            expected=expected,
            value=value,
            components=replies,
            readout=query.readout or head.readout,
            model=self.engine.fingerprint,
            profile=profile.digest,
            timings=Timings(
                decode_ms=max(each.decode_ms for each in timings),
                queue_ms=max(each.queue_ms for each in timings),
                engine_ms=max(each.engine_ms for each in timings),
            ),
        )

    async def _score_labels(self, head: ServedHead, profile: LabelProfile, query: Query) -> Reply:
        readout = query.readout or head.readout
        question = _question(head, profile, query, query.frames)
        if readout is Readout.GENERATE:
            return await self._score_written(head, profile, query, question)
        questions = [question]
        if query.swap and profile.pair is not None:
            questions.append(_question(head, profile, query, _exchanged(profile, query.frames)))
        match readout:
            case Readout.LIKELIHOOD:
                ask = self.engine.read_forced
            case Readout.REASON_THEN_READ:
                ask = self.engine.read_after_reasoning
            case _:
                assert_never(readout)
        readings = await asyncio.gather(*(ask(each) for each in questions))
        distribution = normalise(profile, readings[0].logprobs)
        if len(readings) == 2:
            swapped = normalise(profile, readings[1].logprobs)
            distribution = average_orders(profile, distribution, swapped)
        verdict = decide(
            profile,
            distribution,
            use=query.use or Use.LABEL,
            margin=profile.margin if query.margin is None else query.margin,
        )
        wrote = readout is Readout.REASON_THEN_READ and query.return_text
        return Reply(
            head=head.name,
            probabilities=distribution.probabilities,
            label_mass=distribution.label_mass,
            label=verdict.label,
            expected=verdict.expected,
            value=verdict.value,
            confidence=verdict.confidence,
            text=readings[0].text if wrote else None,
            readout=readout,
            model=self.engine.fingerprint,
            profile=profile.digest,
            timings=_longest([reading.timings for reading in readings]),
        )

    async def _score_written(
        self, head: ServedHead, profile: LabelProfile, query: Query, question: Question
    ) -> Reply:
        written = await self.engine.generate(question)
        label = parse_answer(profile, written.text)
        return Reply(
            head=head.name,
            label=label,
            value=profile.values[label],
            text=written.text if query.return_text else None,
            readout=Readout.GENERATE,
            model=self.engine.fingerprint,
            profile=profile.digest,
            timings=_longest([written.timings]),
        )


def _check_frames(head: ServedHead, frames: Mapping[Role, Frame]) -> None:
    for role in head.required_frames:
        if role not in frames:
            needed = " and ".join(each.value for each in head.required_frames)
            raise invalid(
                role.value, f"head {head.name} needs the frames {needed}: {role.value} is missing."
            )
    allowed = {*head.required_frames, *head.optional_frames}
    for role in frames:
        if role not in allowed:
            looks = ", ".join(each.value for each in (*head.required_frames, *head.optional_frames))
            raise invalid(
                role.value,
                f"head {head.name} does not look at a frame {role.value}, only at {looks}: "
                "leave it out.",
            )


def _check_pair(head: ServedHead, frames: Mapping[Role, Frame]) -> None:
    pair = _pair(head)
    if pair is None:
        return
    first, second = (frames[role] for role in pair)
    if (first.height, first.width) != (second.height, second.width):
        raise invalid(
            pair[1].value,
            f"the frames compared have different sizes: {pair[0].value} is "
            f"{first.height}x{first.width} and {pair[1].value} is "
            f"{second.height}x{second.width} pixels. Send both in one size.",
        )


def _pair(head: ServedHead) -> tuple[Role, Role] | None:
    return head.profile.pair if isinstance(head.profile, LabelProfile) else None


def _part_query(query: Query, part: ServedHead) -> Query:
    """The query of one part of a composite head: the frames that it looks at."""
    looks = {*part.required_frames, *part.optional_frames}
    return replace(
        query,
        head=part.name,
        frames={role: frame for role, frame in query.frames.items() if role in looks},
        # The composite weighs labels or expectations itself.
        use=None,
    )


def _exchanged(profile: LabelProfile, frames: Mapping[Role, Frame]) -> Mapping[Role, Frame]:
    """The frames of a pair in the other order."""
    if profile.pair is None:
        return frames
    first, second = profile.pair
    return {**frames, first: frames[second], second: frames[first]}


def _question(
    head: ServedHead, profile: LabelProfile, query: Query, frames: Mapping[Role, Frame]
) -> Question:
    turn = render_turn(profile, query.task, frames.keys())
    return Question(
        parts=tuple(
            FrameSlot(frames[part], part.value) if isinstance(part, Role) else part
            for part in turn.parts
        ),
        form=AnswerForm(
            prefix=profile.answer_prefix,
            labels=tuple(label.written for label in profile.labels),
            terminator=profile.terminator,
            max_tokens=profile.max_answer_tokens,
            stop=profile.answer_stop,
        ),
        adapter=head.adapter,
        deadline=query.deadline,
    )


def _longest(timings: Sequence[EngineTimings]) -> Timings:
    """Questions asked together take as long as the longest of them."""
    return Timings(
        decode_ms=max(each.decode_ms for each in timings),
        queue_ms=max(each.queue_ms for each in timings),
        engine_ms=max(each.engine_ms for each in timings),
    )


def _of_component(head: str, part: str, error: DomainError) -> DomainError:
    if error.code not in _MODEL_ERRORS:
        return error
    return DomainError(
        ErrorCode.COMPONENT_FAILED,
        f"head {head}: its part {part} failed ({error.code.value}): {error.message}",
        field=error.field,
    )
