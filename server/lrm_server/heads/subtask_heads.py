"""Asks how far a task has come over its subtasks, and turns the answers into a reply."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from lrm_server.engine.protocol import NO_TOKENS, Engine
from lrm_server.heads.asking import ask_for_label
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.decomposer import Decomposer
from lrm_server.heads.profile import Use
from lrm_server.heads.query import Query, Reply, Timings
from lrm_server.heads.subtask_profile import SubtaskProfile
from lrm_server.heads.subtasks import Subtask

COMPLETED: Final = "completed"
"""The part of a reply that counts the completed subtasks; its label is their number."""
CURRENT: Final = "current"
"""The part that says how far the subtask at hand has come; none when all are completed."""


async def ask_about_subtasks(
    engine: Engine,
    decomposer: Decomposer,
    head: ServedHead,
    profile: SubtaskProfile,
    query: Query,
    current: ServedHead,
    ask_part: Callable[[ServedHead, Query], Awaitable[Reply]],
) -> Reply:
    """The reply of a head that measures progress over subtasks.

    The value is (k + p) / n: k of the n subtasks are completed and the next has come p far,
    p in [0, 1]; it is 1 when all are. The label is ``k of n``, its confidence that of k.

    Args:
        engine: who counts the completed subtasks.
        decomposer: who makes them, where the query brings none.
        head: who answers.
        profile: its own.
        query: which was checked.
        current: the head that is asked about the subtask at hand.
        ask_part: asks it on behalf of a head.

    Raises:
        DomainError: the query failed.
    """
    began = time.monotonic()
    subtasks = query.subtasks
    if not subtasks:
        made = await decomposer.decompose(profile, query.task, query.scene, query.deadline)
        subtasks = made.subtasks
    waited_ms = 1000 * (time.monotonic() - began)
    count = len(subtasks)
    counting = replace(query, subtasks=subtasks, use=None)
    completed = await ask_for_label(engine, head, profile.completing[count], counting, None)
    parts = {COMPLETED: completed}
    done = int(completed.label)
    if done < count:
        parts[CURRENT] = await ask_part(head, _current_query(query, subtasks[done], current))
    value, expected = overall(parts, count)
    if query.use is Use.EXPECTED and expected is not None:
        value = expected
    text = "" if done == count else subtasks[done].subtask
    return Reply(
        head=head.name,
        label=f"{done} of {count}",
        expected=expected,
        value=value,
        confidence=completed.confidence,
        components=parts,
        text=text if query.return_text else None,
        readout=completed.readout,
        model=engine.fingerprint,
        profile=profile.digest,
        timings=_one_after_the_other(waited_ms, *(part.timings for part in parts.values())),
        tokens=sum((part.tokens for part in parts.values()), NO_TOKENS),
    )


def overall(parts: dict[str, Reply], count: int) -> tuple[float, float | None]:
    """The value and the expected value over ``count`` subtasks, both in [0, 1].

    The expectation is over the number of completed subtasks; whichever is at hand is
    taken to have come as far as the one that was asked about, and not at all when none was.
    It is None where a part has none (readout generate).
    """
    completed, current = parts[COMPLETED], parts.get(CURRENT)
    if current is None:
        return 1.0, completed.expected
    value = completed.value + current.value / count
    if completed.expected is None or current.expected is None:
        return value, None
    unfinished = 1.0 - completed.probabilities[str(count)]
    return value, completed.expected + unfinished * current.expected / count


def _current_query(query: Query, subtask: Subtask, current: ServedHead) -> Query:
    """The query about the subtask at hand; the whole task's plan is not its business."""
    looks = {*current.required_frames, *current.optional_frames}
    return replace(
        query,
        head=current.name,
        task=subtask.subtask,
        scene="",
        subtasks=(),
        frames={role: frame for role, frame in query.frames.items() if role in looks},
        use=None,
    )


def _one_after_the_other(waited_ms: float, *timings: Timings) -> Timings:
    """Questions that wait for each other take as long as all of them; ``waited_ms`` before."""
    return Timings(
        decode_ms=sum(each.decode_ms for each in timings),
        queue_ms=waited_ms + sum(each.queue_ms for each in timings),
        engine_ms=sum(each.engine_ms for each in timings),
    )
