"""Asks a model's own heads at the frames of a window, and turns what they said into a reply."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator, Sequence

from lrm_server.engine.frame_reader import (
    ControlToken,
    FramePart,
    FrameQuestion,
    FrameReader,
    FrameReadings,
)
from lrm_server.engine.protocol import FrameSlot, TokenCounts
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.asking import longest
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.frame_profile import (
    OTHER_FIELD,
    OTHER_WINDOW,
    PREFERENCE_VALUES,
    FrameProfile,
)
from lrm_server.heads.profile import WINDOW, Readout, Use
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.window import FIELD, Shown

_PIECES = re.compile(rf"(\{{task\}}|{WINDOW}|{OTHER_WINDOW}|<\|\w+\|>)")


async def ask_at_frames(
    reader: FrameReader, head: ServedHead, profile: FrameProfile, query: Query, window: Shown
) -> Reply:
    """Progress and success at every frame of a window; the last frame's is the value.

    ``series`` has both for each frame as it was sent, in [0, 1].

    Raises:
        DomainError: the query failed.
    """
    readings = await reader.read_frames(frame_question(profile, query, window))
    _check_count(readings, len(window.order))
    series = {"progress": readings.progress, "success": readings.success}
    value = series[profile.reads][-1]
    return Reply(
        head=head.name,
        expected=value,
        value=value,
        series={name: window.as_sent(values) for name, values in series.items()},
        readout=Readout.LIKELIHOOD,
        model=reader.fingerprint,
        profile=profile.digest,
        timings=longest([readings.timings]),
        tokens=_tokens([readings]),
    )


async def ask_for_preference(
    reader: FrameReader,
    head: ServedHead,
    profile: FrameProfile,
    query: Query,
    window: Shown,
    other: Shown,
) -> Reply:
    """Which of two windows comes closer to the task.

    ``probabilities`` has ``window`` and ``other_window``; the value is 1 where the
    window is the better and -1 where the other is, or the expectation as ``use``
    says. ``series["progress"]`` has the window's frames as this question shows them.

    Raises:
        DomainError: the query failed.
    """
    questions = [frame_question(profile, query, window, other)]
    if query.swap:
        questions.append(frame_question(profile, query, other, window, exchanged=True))
    readings = await asyncio.gather(*(reader.read_frames(each) for each in questions))
    for each in readings:
        _check_count(each, len(window.order) + len(other.order))
    log_odds = _log_odds(readings[0])
    if query.swap:
        log_odds = (log_odds - _log_odds(readings[1])) / 2
    preferred = 1 / (1 + math.exp(-log_odds))
    probabilities = {OTHER_FIELD: 1 - preferred, FIELD: preferred}
    label = max(probabilities, key=lambda name: probabilities[name])
    expected = sum(PREFERENCE_VALUES[name] * share for name, share in probabilities.items())
    count = len(window.order)
    return Reply(
        head=head.name,
        probabilities=probabilities,
        label=label,
        expected=expected,
        value=expected if query.use is Use.EXPECTED else PREFERENCE_VALUES[label],
        confidence=probabilities[label],
        series={
            "progress": window.as_sent(readings[0].progress[:count]),
            "success": window.as_sent(readings[0].success[:count]),
        },
        readout=Readout.LIKELIHOOD,
        model=reader.fingerprint,
        profile=profile.digest,
        timings=longest([each.timings for each in readings]),
        tokens=_tokens(readings),
    )


def _tokens(readings: Sequence[FrameReadings]) -> TokenCounts:
    prompt = sum(each.prompt_tokens for each in readings)
    # What was known and lost is computed again, beside the turn's own tokens.
    computed = sum(min(each.computed_tokens, each.prompt_tokens) for each in readings)
    return TokenCounts(prompt, prompt - computed)


def frame_question(
    profile: FrameProfile,
    query: Query,
    first: Shown,
    second: Shown | None = None,
    *,
    exchanged: bool = False,
) -> FrameQuestion:
    """The turn of a profile's prompt with its frames in place.

    Args:
        profile: whose prompt is filled; what the task holds is never read as a placeholder.
        query: its task and deadline.
        first: stands where the prompt says ``<window>``.
        second: stands where it says ``<other_window>``.
        exchanged: ``first`` is the query's other window.
    """
    fields = (OTHER_FIELD, FIELD) if exchanged else (FIELD, OTHER_FIELD)
    parts: list[FramePart] = []
    text: list[str] = []
    for piece in profile.prompt:
        for token in _PIECES.split(piece.text):
            if not _PIECES.fullmatch(token):
                text.append(token)
                continue
            if token == "{task}":  # noqa: S105 - a placeholder, not a secret
                text.append(query.task)
                continue
            if joined := "".join(text):
                parts.append(joined)
            text.clear()
            if token == WINDOW:
                parts += _frames(profile, first, fields[0])
            elif token == OTHER_WINDOW and second is not None:
                parts += _frames(profile, second, fields[1])
            else:
                parts.append(ControlToken(token))
    if joined := "".join(text):
        parts.append(joined)
    return FrameQuestion(tuple(parts), query.deadline)


def _frames(profile: FrameProfile, shown: Shown, field: str) -> Iterator[FramePart]:
    for frame, place in zip(shown.views[0], shown.places[0], strict=True):
        yield FrameSlot(frame, f"{field}[{place}]")
        yield ControlToken(profile.after_frame)


def _log_odds(readings: FrameReadings) -> float:
    """Of the first trajectory's being the better."""
    share = readings.preference
    if share is None:
        raise DomainError(ErrorCode.INTERNAL, "the model read no preference: mend the profile.")
    least = 1e-7
    share = min(max(share, least), 1 - least)
    return math.log(share) - math.log1p(-share)


def _check_count(readings: FrameReadings, frames: int) -> None:
    """A number for each frame, each of them a number.

    Raises:
        DomainError: INTERNAL.
    """
    numbers: Sequence[float] = (*readings.progress, *readings.success)
    if len(readings.progress) != frames or len(readings.success) != frames:
        raise DomainError(
            ErrorCode.INTERNAL,
            f"the model answered at {len(readings.progress)} of {frames} frames: the profile's "
            "after_frame is not the token that its heads read.",
        )
    if not all(math.isfinite(number) for number in numbers):
        raise DomainError(
            ErrorCode.INTERNAL,
            "the model gave no number at some frames: its weights or its input are broken.",
        )
