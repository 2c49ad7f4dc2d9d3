"""Asks an engine one head's question, and turns what it read into a reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from lrm_server.engine.protocol import NO_TOKENS, Engine, EngineTimings
from lrm_server.frames import Frame
from lrm_server.heads.answer import (
    average_orders,
    decide,
    normalise,
    parse_answer,
    parse_percentages,
)
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.profile import LabelProfile, Readout, Role, SequenceProfile, Use
from lrm_server.heads.query import Query, Reply, Timings
from lrm_server.heads.question import question_of
from lrm_server.heads.window import Shown
from lrm_server.together import together


async def ask_for_label(
    engine: Engine, head: ServedHead, profile: LabelProfile, query: Query, window: Shown | None
) -> Reply:
    """The reply of a head that reads one label.

    Raises:
        DomainError: the query failed.
    """
    readout = query.readout or head.readout
    question = question_of(head, profile, query, query.frames, window)
    if readout is Readout.GENERATE:
        written = await engine.generate(question)
        label = parse_answer(profile, written.text)
        return Reply(
            head=head.name,
            label=label,
            value=profile.values[label],
            text=written.text if query.return_text else None,
            readout=readout,
            model=engine.fingerprint,
            profile=profile.digest,
            timings=longest([written.timings]),
            tokens=written.tokens,
        )
    questions = [question]
    if query.swap and profile.pair is not None:
        other = _exchanged(profile.pair, query.frames)
        questions.append(question_of(head, profile, query, other, window))
    match readout:
        case Readout.LIKELIHOOD:
            ask = engine.read_forced
        case Readout.REASON_THEN_READ:
            ask = engine.read_after_reasoning
        case _:
            assert_never(readout)
    readings = await together(map(ask, questions))
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
        log_probability=distribution.log_probability,
        text=readings[0].text if wrote else None,
        readout=readout,
        model=engine.fingerprint,
        profile=profile.digest,
        timings=longest([reading.timings for reading in readings]),
        tokens=sum((reading.tokens for reading in readings), NO_TOKENS),
    )


async def ask_for_percentages(
    engine: Engine, head: ServedHead, profile: SequenceProfile, query: Query, window: Shown
) -> Reply:
    """The reply of a head that is asked for a percentage of every frame.

    ``value`` is the last frame's share of the task, in [0, 1]; ``series["progress"]``
    has every frame's, in the order of time.

    Raises:
        DomainError: the query failed.
    """
    question = question_of(head, profile, query, query.frames, window)
    written = await engine.generate(question)
    percentages = parse_percentages(profile, written.text, len(window.order))
    progress = [0.0] * len(percentages)
    for at, percentage in zip(window.order, percentages, strict=True):
        progress[at] = percentage / 100
    return Reply(
        head=head.name,
        value=progress[-1],
        series={"progress": window.as_sent(progress)},
        text=written.text if query.return_text else None,
        readout=Readout.GENERATE,
        model=engine.fingerprint,
        profile=profile.digest,
        timings=longest([written.timings]),
        tokens=written.tokens,
    )


def longest(timings: Sequence[EngineTimings]) -> Timings:
    """Questions asked together take as long as the longest of them."""
    return Timings(
        decode_ms=max(each.decode_ms for each in timings),
        queue_ms=max(each.queue_ms for each in timings),
        engine_ms=max(each.engine_ms for each in timings),
    )


def _exchanged(pair: tuple[Role, Role], frames: Mapping[Role, Frame]) -> Mapping[Role, Frame]:
    """The frames of a pair in the other order."""
    first, second = pair
    return {**frames, first: frames[second], second: frames[first]}
