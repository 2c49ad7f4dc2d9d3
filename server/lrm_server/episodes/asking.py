"""Asks the heads of a due step, all at once; a failure is an outcome of its head alone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import structlog

from lrm_server.deadlines import within
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query, Reply, Timings
from lrm_server.heads.scorer import Scorer
from lrm_server.together import together

logger = structlog.get_logger(__name__)

Outcome: TypeAlias = Reply | DomainError


async def ask(scorer: Scorer, queries: Sequence[Query]) -> Mapping[str, Outcome]:
    """Each head's reply, or why its query failed; cancelling aborts them all.

    A query that outlasts its deadline is given up and fails alone, so that the step, and the
    batch that it came with, is still answered.
    """

    async def outcome(query: Query) -> Outcome:
        result: Reply | BaseException
        try:
            async with within(query.deadline):
                result = await scorer.score(query)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            result = error
        except Exception as error:
            result = error
        return _outcome(query, result)

    outcomes = await together(map(outcome, queries))
    return {query.head: each for query, each in zip(queries, outcomes, strict=True)}


def timings_of(outcomes: Iterable[Outcome], decode_ms: float, total_ms: float) -> Timings:
    """Where the time of a step went. Its queries run side by side, so the longest counts.

    Args:
        outcomes: of the queries.
        decode_ms: decoding the step's frame, before the queries.
        total_ms: from the step's turn to its answer.
    """
    spent = [outcome.timings for outcome in outcomes if isinstance(outcome, Reply)]
    return Timings(
        decode_ms=decode_ms + max([each.decode_ms for each in spent], default=0.0),
        queue_ms=max([each.queue_ms for each in spent], default=0.0),
        engine_ms=max([each.engine_ms for each in spent], default=0.0),
        total_ms=total_ms,
    )


def in_step(error: DomainError, field: str = "") -> DomainError:
    """An error of a query as the step names it: whatever its role, a step has one frame.

    Args:
        error: its field is relative to a query, or empty.
        field: what stands in for a field that is empty.
    """
    roles = {role.value for role in Role}
    of_frame = error.field in roles or error.field.startswith("window")
    named = "frame" if of_frame else error.field or field
    if named == error.field:
        return error
    return DomainError(
        error.code,
        error.message,
        field=named,
        step=error.step,
        retry_after_seconds=error.retry_after_seconds,
    )


def _is_cancelled() -> bool:
    """Whether it is the caller who gives up, and not what was waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _outcome(query: Query, result: Reply | BaseException) -> Outcome:
    if isinstance(result, Reply):
        if math.isfinite(result.value):
            return result
        return DomainError(
            ErrorCode.INTERNAL,
            f"head {query.head} gave the value {result.value}, which is no reward: its profile "
            "or its weights are broken.",
        )
    if isinstance(result, DomainError):
        return in_step(result)
    if isinstance(result, asyncio.CancelledError):
        # The caller is still there: it was the engine that gave the query up.
        return DomainError(
            ErrorCode.UNAVAILABLE,
            f"the query of head {query.head} was given up by the server: send the next step.",
        )
    logger.error("a query failed", head=query.head, exc_info=result)
    return DomainError(
        ErrorCode.INTERNAL,
        f"the query of head {query.head} failed inside the server; its log says why.",
    )
