"""Tasks in words, and the subtasks that are made of them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import Field

from lrm_server.api.http_models import RequestBody, SubtaskBody
from lrm_server.api.http_replies import AnswerBody
from lrm_server.api.http_state import Arrived, State, while_wanted

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])


class TaskBody(RequestBody):
    """A task that is to be decomposed."""

    task: str = Field(
        description="The task in words; not empty.", examples=["stack the red cube on the green"]
    )
    scene: str = Field("", description="What stands around the robot, in words.")
    head: str = Field(
        "subtasks", description="A head that measures progress over subtasks, by its own profile."
    )


class DecomposedBody(AnswerBody):
    """The subtasks of a task."""

    subtasks: list[SubtaskBody] = Field(description="In order.")
    profile: str = Field(description="Digest of the profile that asked for them.")
    model: str = Field(description="Fingerprint of the model that wrote them.")


@router.post("/decompose")
async def decompose(
    body: TaskBody, request: Request, state: State, arrival: Arrived
) -> DecomposedBody:
    """The subtasks that a head asks about when a query of this task and scene brings none.

    They are written by the text model once, and kept for the queries that follow.
    """
    work = state.calls.decompose(body.head, body.task, body.scene, arrival)
    made = await while_wanted(request, work)
    return DecomposedBody(
        subtasks=[
            SubtaskBody(subtask=each.subtask, done_when=each.done_when) for each in made.subtasks
        ],
        profile=made.profile,
        model=made.model,
    )
