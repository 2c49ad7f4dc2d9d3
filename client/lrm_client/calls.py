"""Prepared calls: what both clients send, and how they read the response."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lrm_client import replies, requests
from lrm_client.connection import CLOSE, MODELS, OPEN, SCORE, STEP, Call
from lrm_client.errors import LrmError
from lrm_client.frames import FrameEncoder, FrameTable
from lrm_client.types import (
    EpisodeSpec,
    EpisodeStep,
    OpenedEpisode,
    Query,
    Reply,
    ServedModels,
    StepReply,
)
from lrm_client.wire import reward_pb2 as pb


def score(
    queries: Sequence[Query], encoder: FrameEncoder, timeout: float | None
) -> Call[list[Reply | LrmError]]:
    """Asks a batch of queries."""
    frames = FrameTable(encoder)
    request = requests.score_request(queries, frames)

    def read(response: pb.ScoreResponse) -> list[Reply | LrmError]:
        return replies.score_results(response, len(request.queries))

    return Call(SCORE, request, read, timeout, frames.fill(request.frames))


def open_episodes(
    specs: Iterable[EpisodeSpec], timeout: float | None = None
) -> Call[list[OpenedEpisode | LrmError]]:
    """Opens episodes."""
    request = requests.open_request(specs)
    ids = [spec.id for spec in request.episodes]

    def read(response: pb.OpenEpisodesResponse) -> list[OpenedEpisode | LrmError]:
        return replies.open_results(response, ids)

    return Call(OPEN, request, read, timeout)


def step_episodes(
    steps: Sequence[EpisodeStep], encoder: FrameEncoder, timeout: float | None = None
) -> Call[list[StepReply | LrmError]]:
    """Steps episodes."""
    frames = FrameTable(encoder)
    request = requests.step_request(steps, frames)
    asked = [(step.episode, step.step) for step in request.steps]

    def read(response: pb.StepEpisodesResponse) -> list[StepReply | LrmError]:
        return replies.step_results(response, asked)

    return Call(STEP, request, read, timeout, frames.fill(request.frames))


def close_episodes(episodes: Iterable[str], timeout: float | None = None) -> Call[dict[str, bool]]:
    """Closes episodes."""
    return Call(CLOSE, requests.close_request(episodes), replies.close_results, timeout)


def shared_memory(timeout: float | None = None) -> Call[bool]:
    """Asks whether the server reads frames from shared memory."""

    def read(response: pb.ListModelsResponse) -> bool:
        return response.limits.shared_memory

    return Call(MODELS, pb.ListModelsRequest(), read, timeout)


def models(timeout: float | None = None) -> Call[ServedModels]:
    """Names what is served."""
    return Call(MODELS, pb.ListModelsRequest(), replies.served_models, timeout)


def only(results: list[Reply | LrmError]) -> Reply:
    """The reply of a batch of one; its error is raised."""
    (result,) = results
    if isinstance(result, LrmError):
        raise result
    return result
