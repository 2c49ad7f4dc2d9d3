"""Training runs, and how many queries each may ask.

Requests name their run in the header ``lrm-run``, whichever route they take.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from lrm_server.api.http_models import RequestBody
from lrm_server.api.http_replies import AnswerBody
from lrm_server.api.http_state import State
from lrm_server.ops.budgets import MAX_ID_LENGTH, Run

router = APIRouter(prefix="/v1/runs", tags=["runs"])

RunId = Annotated[str, Path(description="The run's id.", examples=["ppo-stack-7"])]


class RunBody(RequestBody):
    """A run that is to be opened."""

    id: str = Field(
        description="Chosen by the caller: printable ASCII without a '/', at most "
        f"{MAX_ID_LENGTH} characters.",
        examples=["ppo-stack-7"],
    )
    queries: int = Field(description="How many queries it may ask.", examples=[20000])


class RunStandingBody(AnswerBody):
    """Where a run stands."""

    id: str
    queries: int = Field(description="How many queries it may ask.")
    used: int = Field(description="How many it asked, with those that are being answered.")
    over: bool = Field(description="Whether it may ask no more.")


class ClosedRunBody(AnswerBody):
    """A run that is closed."""

    id: str
    was_open: bool


@router.post("")
async def open_run(body: RunBody, state: State) -> RunStandingBody:
    """Opens a run. Opening it again changes how many queries it may ask; what it asked stays."""
    return _standing(state.calls.runs.open(body.id, body.queries))


@router.get("/{run}")
async def run(run: RunId, state: State) -> RunStandingBody:
    """Where a run stands."""
    return _standing(state.calls.runs.get(run))


@router.delete("/{run}")
async def close_run(run: RunId, state: State) -> ClosedRunBody:
    """Closes a run: queries that name it fail from now on. Closing twice is no error."""
    return ClosedRunBody(id=run, was_open=state.calls.runs.close(run))


def _standing(run: Run) -> RunStandingBody:
    return RunStandingBody(id=run.id, queries=run.queries, used=run.used, over=run.over)
