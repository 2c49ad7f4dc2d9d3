"""Stateless scoring: one head a request, or a batch of any."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from lrm_server.api import from_json, to_json
from lrm_server.api.arrival import Arrival
from lrm_server.api.http_errors import refusal_of
from lrm_server.api.http_forms import read_query
from lrm_server.api.http_models import HeadQueryBody, PlannedBody, QueryBody, RequestBody
from lrm_server.api.http_replies import ReplyBody, ScoresBody
from lrm_server.api.http_state import Arrived, HttpState, State, while_wanted
from lrm_server.errors import DomainError

router = APIRouter(tags=["scoring"])


def _refuse_alone(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError as error:
        return refusal_of(error)


BatchItem = Annotated[HeadQueryBody, WrapValidator(_refuse_alone)]
"""A query, or the DomainError of one that is wrong: the others are answered all the same."""


class ScoreBody(RequestBody):
    """A batch of questions to any heads."""

    queries: list[BatchItem] = Field(description="Each is answered on its own.")


_EXAMPLE: Final = {
    "task": "pick up the red cube",
    "current": {"data": "/9j/4AAQSkZJRgABAQ...", "encoding": "jpeg"},
}
_PAIR_EXAMPLE: Final = {
    **_EXAMPLE,
    "previous": {"data": "/9j/4AAQSkZJRgABAQ...", "encoding": "jpeg"},
}
_FRAMES: Final = ("current", "previous", "initial", "goal", "window", "other_window")
_PLAN: Final = tuple(PlannedBody.model_fields)
_FORM: Final = {
    "type": "object",
    "required": ["task"],
    "properties": {
        **{
            role: {"type": "string", "format": "binary", "description": f"{told} JPEG or PNG."}
            for role, told in (
                ("current", "The frame that is judged."),
                ("previous", "The frame to compare with."),
                ("initial", "The episode's first frame."),
                ("goal", "A frame in which the task is done."),
            )
        },
        "window": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Frames of a video head, oldest first.",
        },
        **{
            name: schema
            for name, schema in QueryBody.model_json_schema()["properties"].items()
            # Heads that plan are asked with /v1/score.
            if name not in (*_FRAMES, *_PLAN)
        },
    },
}


def _documented(example: dict[str, Any]) -> dict[str, Any]:
    """The two forms of a body that the route reads itself."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/QueryBody"},
                    "example": example,
                },
                "multipart/form-data": {"schema": _FORM},
            },
        }
    }


@router.post("/v1/contrastive", openapi_extra=_documented(_PAIR_EXAMPLE))
async def contrastive(request: Request, state: State, arrival: Arrived) -> ReplyBody:
    """Which of two frames is closer to the goal: previous is -1, current is +1."""
    return await _ask("contrastive", request, state, arrival)


@router.post("/v1/progress", openapi_extra=_documented(_EXAMPLE))
async def progress(request: Request, state: State, arrival: Arrived) -> ReplyBody:
    """How far the task has come, in [0, 1]."""
    return await _ask("progress", request, state, arrival)


@router.post("/v1/completion", openapi_extra=_documented(_EXAMPLE))
async def completion(request: Request, state: State, arrival: Arrived) -> ReplyBody:
    """Whether the task is done: 0 or 1."""
    return await _ask("completion", request, state, arrival)


@router.post("/v1/score")
async def score(body: ScoreBody, request: Request, state: State, arrival: Arrived) -> ScoresBody:
    """Any heads, many questions: a reply or an error for each, in order."""
    state.calls.require(len(body.queries), "queries")
    limits = state.calls.limits.frame
    queries = await state.calls.beside(from_json.queries, body.queries, limits, arrival.deadline)
    outcomes = await while_wanted(request, state.calls.score(queries, arrival))
    return to_json.scores(outcomes)


async def _ask(head: str, request: Request, state: HttpState, arrival: Arrival) -> ReplyBody:
    state.calls.require(1, "queries")
    limits = state.calls.limits
    sent = await read_query(request, limits.frame, limits.batch)
    query = await state.calls.beside(
        from_json.query,
        sent.body,
        limits.frame,
        arrival.deadline,
        head=head,
        files=sent.files,
        filmed=sent.window,
    )
    (outcome,) = await while_wanted(request, state.calls.score([query], arrival))
    if isinstance(outcome, DomainError):
        raise outcome
    return to_json.reply(outcome)
