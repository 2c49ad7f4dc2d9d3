"""Robometer's evaluation server under ``/compat/robometer``.

Its clients read a missing prediction as 0. So a request of which a sample failed is answered
with an error's status, which they raise as an exception; the body still holds the answers of
the other samples, null where a sample failed, and names every failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from lrm_server.api.arrival import Arrival
from lrm_server.api.compat.asking import Outcome, ask
from lrm_server.api.compat.bodies import parsed
from lrm_server.api.compat.documents import ROBOMETER_FAILURE, form_body, json_body
from lrm_server.api.compat.errors import ROBOMETER, said
from lrm_server.api.compat.robometer_heads import Preferred, RobometerHeads, Traced
from lrm_server.api.compat.robometer_samples import (
    Batch,
    Sample,
    Sent,
    from_body,
    from_form,
    read_form,
)
from lrm_server.api.http_errors import CODE_KEY
from lrm_server.api.http_state import Arrived, HttpState, State
from lrm_server.api.problems import TABLE
from lrm_server.errors import DomainError
from lrm_server.heads.query import Query

Answer: TypeAlias = Traced | Preferred | DomainError

ENGINES: Final = 1
"""An engine counts as one device, over however many it spans."""
MOST_NAMED: Final = 5
"""Failures that the error's first line names; the list holds all."""

router = APIRouter(
    prefix=ROBOMETER, tags=["drop-in: Robometer"], responses={"default": ROBOMETER_FAILURE}
)


@router.post("/evaluate_batch_npy", openapi_extra=form_body())
async def evaluate_batch_npy(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """Samples in a form, their arrays as ``.npy`` files of uint8."""
    limits = state.calls.limits
    texts, files, steps = await read_form(request, limits)
    batch = await state.calls.beside(from_form, texts, files, steps, limits)
    return await _evaluated(batch, request, state, arrival)


@router.post("/evaluate_batch", openapi_extra=json_body("samples"))
async def evaluate_batch(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """Samples as JSON, their arrays as nested lists."""
    limits = state.calls.limits
    content = await request.body()
    batch = await state.calls.beside(lambda: from_body(parsed(content), limits))
    return await _evaluated(batch, request, state, arrival)


@router.get("/health")
async def health(state: State) -> JSONResponse:
    """Whether samples can be answered; 503 while they cannot."""
    readiness = await state.health.readiness()
    return JSONResponse(
        {
            "status": "healthy" if readiness.ready else "unhealthy",
            "available_gpus": ENGINES if readiness.ready else 0,
            "total_gpus": ENGINES,
            **({} if readiness.ready else {"detail": readiness.reason}),
        },
        200 if readiness.ready else 503,
    )


@router.get("/gpu_status")
async def gpu_status(state: State) -> JSONResponse:
    """The engine, in the form of a pool of devices."""
    readiness = await state.health.readiness()
    running = readiness.engine.running if readiness.engine is not None else 0
    waiting = readiness.engine.waiting if readiness.engine is not None else 0
    return JSONResponse(
        {
            "total_gpus": ENGINES,
            "available_gpus": ENGINES if readiness.ready else 0,
            "max_workers": ENGINES,
            "pool_size": ENGINES,
            "gpu_stats": {
                "0": {
                    "status": "ready" if readiness.ready else readiness.reason,
                    "running": running,
                    "waiting": waiting,
                }
            },
        }
    )


@router.get("/model_info")
async def model_info(state: State, arrival: Arrived) -> JSONResponse:
    """The checkpoint, and which of its heads answer which of Robometer's outputs."""
    catalogue = state.calls.catalogue
    served_by = RobometerHeads(catalogue, arrival.deadline).named()
    model = catalogue.model_of(served_by["progress"] or served_by["preference"])
    return JSONResponse(
        {
            "model_path": model.id,
            "num_gpus": ENGINES,
            "experiment_config": {},
            "model_architecture": {"fingerprint": model.fingerprint},
            "description": model.description,
            "served_by": served_by,
        }
    )


async def _evaluated(
    batch: Batch, request: Request, state: HttpState, arrival: Arrival
) -> JSONResponse:
    heads = RobometerHeads(state.calls.catalogue, arrival.deadline)
    asked = [_queries(heads, sent, batch.frame_steps) for sent in batch.samples]
    queries = [query for each in asked if not isinstance(each, DomainError) for query in each]
    outcomes = iter(await ask(request, state, queries, arrival) if queries else ())
    answers: list[Answer] = []
    for sent, each in zip(batch.samples, asked, strict=True):
        if isinstance(sent.sample, DomainError):
            answers.append(sent.sample)
        elif isinstance(each, DomainError):
            answers.append(each)
        else:
            mine = [next(outcomes) for _ in each]
            answers.append(_answer(heads, sent.sample, mine, batch.frame_steps))
    return _response(request, batch, answers)


def _queries(heads: RobometerHeads, sent: Sent, frame_steps: bool) -> list[Query] | DomainError:
    if isinstance(sent.sample, DomainError):
        return sent.sample
    try:
        return heads.queries(sent.sample, frame_steps)
    except DomainError as error:
        return error


def _answer(
    heads: RobometerHeads, sample: Sample, outcomes: Sequence[Outcome], frame_steps: bool
) -> Answer:
    replies = []
    for outcome in outcomes:
        if isinstance(outcome, DomainError):
            return outcome
        replies.append(outcome)
    try:
        return heads.answer(sample, replies, frame_steps)
    except DomainError as error:
        return error


def _response(request: Request, batch: Batch, answers: Sequence[Answer]) -> JSONResponse:
    body = _outputs(batch, answers)
    failed = {at: each for at, each in enumerate(answers) if isinstance(each, DomainError)}
    if not failed:
        return JSONResponse(body)
    first = next(iter(failed.values()))
    request.scope[CODE_KEY] = first.code.value
    statuses = {TABLE[error.code].http for error in failed.values()}
    named = [f"sample {at}: {said(error)}" for at, error in failed.items()][:MOST_NAMED]
    return JSONResponse(
        {
            "detail": f"{len(failed)} of {len(answers)} samples failed; " + "; ".join(named),
            "errors": [
                {"sample": at, "code": error.code.value, "detail": said(error)}
                for at, error in failed.items()
            ],
            **body,
        },
        statuses.pop() if len(statuses) == 1 else 500,
    )


def _outputs(batch: Batch, answers: Sequence[Answer]) -> dict[str, Any]:
    """Robometer's three outputs, each null where it was not asked for or nobody answers it."""
    traced: list[Traced | None] = []
    preferred: list[Preferred | None] = []
    for sent, answer in zip(batch.samples, answers, strict=True):
        if sent.preference:
            preferred.append(answer if isinstance(answer, Preferred) else None)
        else:
            traced.append(answer if isinstance(answer, Traced) else None)
    progress = [None if each is None else each.progress for each in traced]
    success = [None if each is None else each.success for each in traced]
    return {
        "outputs_preference": _preferences(preferred) if any(preferred) else None,
        "outputs_progress": {"progress_pred": progress} if any(progress) else None,
        "outputs_success": {"success_probs": success} if any(success) else None,
    }


def _preferences(preferred: Sequence[Preferred | None]) -> dict[str, Any]:
    """The chosen trajectory is always the first, so its label is always 1."""
    chances = [None if each is None else each.probability for each in preferred]
    return {
        "predictions": [None if chance is None else int(chance > 0.5) for chance in chances],
        "prediction_probs": chances,
        "preference_labels": [1.0] * len(chances),
    }
