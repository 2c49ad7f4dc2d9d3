"""Episodes on the clock."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from lrm_server.api import from_json, to_json
from lrm_server.api.http_models import EpisodeBody, StepBody
from lrm_server.api.http_replies import ClosedBody, OpenedBody, SteppedBody
from lrm_server.api.http_state import Arrived, State, while_wanted
from lrm_server.errors import DomainError

router = APIRouter(prefix="/v1/episodes", tags=["episodes"])

EpisodeId = Annotated[str, Path(description="The episode's id.", examples=["robot-7-42"])]


@router.post("")
async def open_episode(body: EpisodeBody, state: State) -> OpenedBody:
    """Opens an episode. Opening an id again with the same specification is no error."""
    (outcome,) = await state.calls.open([from_json.episode_spec(body)])
    if isinstance(outcome, DomainError):
        raise outcome
    return to_json.opened(outcome)


@router.post("/{episode:path}/steps")
async def step_episode(
    episode: EpisodeId, body: StepBody, request: Request, state: State, arrival: Arrived
) -> SteppedBody:
    """Takes a step: step 0 brings the initial frame, the others are answered with rewards."""
    step = await state.calls.beside(
        from_json.episode_step, episode, body, state.calls.limits.frame, arrival.deadline
    )
    (outcome,) = await while_wanted(request, state.calls.step([step], arrival))
    if isinstance(outcome, DomainError):
        raise outcome
    return to_json.stepped(outcome)


@router.delete("/{episode:path}")
async def close_episode(episode: EpisodeId, state: State) -> ClosedBody:
    """Closes an episode and forgets its frames. Closing twice is no error."""
    (was_open,) = await state.calls.close([episode])
    return ClosedBody(id=episode, was_open=was_open)
