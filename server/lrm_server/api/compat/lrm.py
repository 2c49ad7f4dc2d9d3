"""LRM's service under ``/compat/lrm``: its clients take this for their server's address.

Requests are answered together, not one at a time behind a lock. A failure is HTTP 500 with
``{"success": false, "error": ...}`` and never has a score beside it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from lrm_server.api.arrival import Arrival
from lrm_server.api.compat import lrm_replies, lrm_requests
from lrm_server.api.compat.asking import ask, ask_one, require_head
from lrm_server.api.compat.documents import LRM_FAILURE, json_body
from lrm_server.api.compat.errors import LRM, lrm_failure
from lrm_server.api.compat.lrm_quality import judged_quality
from lrm_server.api.compat.lrm_requests import Judged
from lrm_server.api.compat.robometer_heads import own_head
from lrm_server.api.http_state import Arrived, HttpState, State, while_wanted
from lrm_server.errors import DomainError
from lrm_server.heads.query import Query, Reply

ROBOREWARD_FPS: Final = 1.0
TOPREWARD_FPS: Final = 2.0
HEADS: Final = ("contrastive", "progress", "completion")
"""LRM's own, which its service lists as adapters."""

router = APIRouter(prefix=LRM, tags=["drop-in: LRM"], responses={"default": LRM_FAILURE})


@router.get("/health")
async def health(state: State) -> JSONResponse:
    """Whether the model is loaded, and which of LRM's heads it has."""
    ready = (await state.health.readiness()).ready
    served = state.calls.catalogue if state.calls.attached else ()
    return JSONResponse(
        {
            "status": "healthy",
            "model_loaded": ready,
            "adapters": sorted(head for head in HEADS if head in served),
        }
    )


@router.post("/compute_reward", openapi_extra=json_body("image", "task_description"))
async def compute_reward(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """Progress of one image, with the initial image and a goal image where they are sent."""
    limits = state.calls.limits.frame
    content = await request.body()
    judged = await state.calls.beside(lrm_requests.reward, content, limits, arrival.deadline)
    return _success(await _judged(request, state, judged, arrival))


@router.post("/compute_rewards_batch", openapi_extra=json_body("images", "task_descriptions"))
async def compute_rewards_batch(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """Progress of several images; an image that fails has an error in its place, and no score."""
    limits = state.calls.limits
    content = await request.body()
    items = await state.calls.beside(
        lrm_requests.rewards, content, limits.frame, limits.batch, arrival.deadline
    )
    if any(isinstance(item, Judged) and item.kind != lrm_requests.PROGRESS for item in items):
        results = await _one_by_one(request, state, items, arrival)
    else:
        results = await _together(request, state, items, arrival)
    failed = [result for result in results if isinstance(result, DomainError)]
    if len(failed) == len(results):
        raise failed[0]
    return _success(
        {
            "results": [
                lrm_failure(result) if isinstance(result, DomainError) else result
                for result in results
            ]
        }
    )


@router.post("/compute_completion", openapi_extra=json_body("image", "task_description"))
async def compute_completion(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """Whether the task is done in one image."""
    catalogue = state.calls.catalogue
    require_head(catalogue, "completion", "compute_completion")
    query = await _query(lrm_requests.completion, request, state, arrival)
    reply = await ask_one(request, state, query, arrival)
    return _success(lrm_replies.completed(catalogue, reply))


@router.post(
    "/compute_comparison", openapi_extra=json_body("image_a", "image_b", "task_description")
)
async def compute_comparison(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """Which of two images is closer to the goal: ImageA is -1, ImageB is +1."""
    catalogue = state.calls.catalogue
    require_head(catalogue, "contrastive", "compute_comparison")
    query = await _query(lrm_requests.comparison, request, state, arrival)
    reply = await ask_one(request, state, query, arrival)
    return _success(lrm_replies.compared(catalogue, reply))


@router.post("/compute_roboreward", openapi_extra=json_body("frames", "task_description"))
async def compute_roboreward(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """RoboReward's grade of a video, from 1 to 5."""
    reply = await _film("roboreward", "compute_roboreward", request, state, arrival, ROBOREWARD_FPS)
    return _success(lrm_replies.graded(state.calls.catalogue, reply))


@router.post("/compute_topreward", openapi_extra=json_body("frames", "task_description"))
async def compute_topreward(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """TOPReward: how probable the model finds it that a video completes the task."""
    reply = await _film("topreward", "compute_topreward", request, state, arrival, TOPREWARD_FPS)
    return _success(lrm_replies.believed(state.calls.catalogue, reply))


@router.post("/compute_robometer", openapi_extra=json_body("frames", "task_description"))
async def compute_robometer(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """Robometer's progress at every frame of a video."""
    head = own_head(state.calls.catalogue, "progress") or "robometer_progress"
    reply = await _film(head, "compute_robometer", request, state, arrival, None)
    return _success(lrm_replies.traced(reply))


async def _query(read: Any, request: Request, state: HttpState, arrival: Arrival) -> Query:
    content = await request.body()
    query: Query = await state.calls.beside(
        read, content, state.calls.limits.frame, arrival.deadline
    )
    return query


async def _film(
    head: str, path: str, request: Request, state: HttpState, arrival: Arrival, fps: float | None
) -> Reply:
    require_head(state.calls.catalogue, head, path)
    limits = state.calls.limits
    content = await request.body()
    query = await state.calls.beside(
        lrm_requests.video, head, content, limits.frame, limits.batch, arrival.deadline, fps
    )
    return await ask_one(request, state, query, arrival)


async def _judged(
    request: Request, state: HttpState, judged: Judged, arrival: Arrival
) -> dict[str, Any]:
    """``score`` and ``response`` of one image."""
    if judged.kind != lrm_requests.PROGRESS:
        return await while_wanted(request, judged_quality(state.calls, judged.query, arrival))
    catalogue = state.calls.catalogue
    require_head(catalogue, "progress", "compute_reward")
    return lrm_replies.scored(catalogue, await ask_one(request, state, judged.query, arrival))


async def _together(
    request: Request, state: HttpState, items: list[Judged | DomainError], arrival: Arrival
) -> list[dict[str, Any] | DomainError]:
    catalogue = state.calls.catalogue
    require_head(catalogue, "progress", "compute_rewards_batch")
    queries = [item.query if isinstance(item, Judged) else item for item in items]
    outcomes = await ask(request, state, queries, arrival)
    return [
        outcome if isinstance(outcome, DomainError) else lrm_replies.scored(catalogue, outcome)
        for outcome in outcomes
    ]


async def _one_by_one(
    request: Request, state: HttpState, items: list[Judged | DomainError], arrival: Arrival
) -> list[dict[str, Any] | DomainError]:
    """For kinds that are no head; the engine batches them all the same."""

    async def answer(item: Judged | DomainError) -> dict[str, Any] | DomainError:
        if isinstance(item, DomainError):
            return item
        try:
            return await judged_quality(state.calls, item.query, arrival)
        except DomainError as error:
            return error

    async def answer_all() -> list[dict[str, Any] | DomainError]:
        return await asyncio.gather(*map(answer, items))

    return await while_wanted(request, answer_all())


def _success(answer: dict[str, Any]) -> JSONResponse:
    return JSONResponse({"success": True, **answer})
