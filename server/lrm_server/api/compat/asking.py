"""How drop-in paths ask: heads by name, and patiently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from fastapi import Request

from lrm_server.api.arrival import Arrival
from lrm_server.api.http_state import HttpState, while_wanted
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.query import Query, Reply

Outcome: TypeAlias = Reply | DomainError


async def ask(
    request: Request, state: HttpState, queries: Sequence[Query | DomainError], arrival: Arrival
) -> list[Outcome]:
    """Each query's reply or error, in order; all are asked at once, and wait for places.

    Raises:
        DomainError: none of the queries got past the engine's door.
        CallerGone: the caller closed its connection.
    """
    return await while_wanted(request, state.calls.score(queries, arrival, patient=True))


async def ask_one(request: Request, state: HttpState, query: Query, arrival: Arrival) -> Reply:
    """The reply to a query.

    Raises:
        DomainError: the query failed.
        CallerGone: the caller closed its connection.
    """
    (outcome,) = await ask(request, state, [query], arrival)
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


def require_head(catalogue: HeadCatalogue, head: str, path: str) -> None:
    """Refuses a path whose model is not loaded.

    Raises:
        DomainError: UNKNOWN_HEAD naming the head that the path needs and those there are.
    """
    if head not in catalogue:
        raise DomainError(
            ErrorCode.UNKNOWN_HEAD,
            f"{path} needs the head {head}, which is not served here: start the server with a "
            f"checkpoint or a manifest that has it. Served are: {', '.join(catalogue)}.",
        )
