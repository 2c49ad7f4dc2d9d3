"""From replies, episodes' answers and errors to the messages of the wire."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from lrm_client.version import __version__
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import number_of
from lrm_server.api.calls import Limits, Outcome
from lrm_server.api.items import located, window_fields
from lrm_server.episodes.types import HeadAnswer, OpenedEpisode, StepAnswer
from lrm_server.errors import DomainError
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.profile import Readout
from lrm_server.heads.query import Reply, Timings
from lrm_server.ops.budgets import Run
from lrm_server.trajectories.types import Point, Summary

_READOUTS: Final = {readout: pb.Readout.Value(f"READOUT_{readout.name}") for readout in Readout}


def problem(error: DomainError) -> pb.Problem:
    """An error as it stands in a result or in the trailing metadata."""
    return pb.Problem(
        code=error.code.value,
        field=error.field,
        message=error.message,
        step=error.step,
        retry_after_seconds=error.retry_after_seconds,
    )


def run(standing: Run) -> pb.Run:
    """Where a run stands."""
    return pb.Run(id=standing.id, queries=standing.queries, used=standing.used, over=standing.over)


def score_response(outcomes: Sequence[Outcome[Reply]]) -> pb.ScoreResponse:
    """One result per query; fields of errors are named from the request."""
    response = pb.ScoreResponse()
    for index, outcome in enumerate(outcomes):
        result = response.results.add()
        if isinstance(outcome, DomainError):
            result.error.CopyFrom(problem(located(outcome, f"queries[{index}]")))
        else:
            put_reply(result.reply, outcome)
    return response


def open_result(outcome: Outcome[OpenedEpisode], place: str) -> pb.OpenResult:
    """An opened episode, or why it was not; ``place`` is the specification's in the request."""
    if isinstance(outcome, DomainError):
        return pb.OpenResult(error=problem(located(outcome, place)))
    return pb.OpenResult(
        episode=pb.OpenedEpisode(
            id=outcome.id, next_query_step=outcome.next_query_step, neutral=dict(outcome.neutral)
        )
    )


def put_step(
    result: pb.StepResult, episode: str, step: int, outcome: Outcome[StepAnswer], place: str
) -> None:
    """Fills the result of a step; ``place`` is the step's in the request."""
    result.episode = episode
    result.step = step
    if isinstance(outcome, DomainError):
        result.error.CopyFrom(problem(located(outcome, place)))
        return
    result.reply.SetInParent()
    for answer in outcome.rewards:
        _put_reward(result.reply.rewards.add(), answer, place)
    if outcome.next_query_step is not None:
        result.reply.next_query_step = outcome.next_query_step
    _put_timings(result.reply.timings, outcome.timings)


def put_reply(wire: pb.Reply, reply: Reply) -> None:
    """Fills a reply in place; what is absent stays absent."""
    wire.head = reply.head
    for label, probability in reply.probabilities.items():
        wire.probabilities.add(label=label, probability=probability)
    if reply.label_mass is not None:
        wire.label_mass = reply.label_mass
    wire.label = reply.label
    if reply.expected is not None:
        wire.expected = reply.expected
    wire.value = reply.value
    if reply.confidence is not None:
        wire.confidence = reply.confidence
    for part in reply.components.values():
        put_reply(wire.components.add(), part)
    for name, values in reply.series.items():
        # The wire has no place for nothing in a list of numbers.
        shown = [math.nan if value is None else value for value in values]
        wire.series.add(name=name, values=shown)
    if reply.log_probability is not None:
        wire.log_probability = reply.log_probability
    if reply.text is not None:
        wire.text = reply.text
    wire.readout = _READOUTS[reply.readout]
    wire.model = reply.model
    wire.profile = reply.profile
    _put_timings(wire.timings, reply.timings)
    if reply.tokens.prompt:
        counts = reply.tokens
        wire.tokens.prompt, wire.tokens.cached = counts.prompt, counts.cached
        wire.tokens.written = counts.written


def trajectory_response(item: Point | Summary) -> pb.ScoreTrajectoryResponse:
    """A point of a trajectory, or its summary."""
    response = pb.ScoreTrajectoryResponse()
    if isinstance(item, Point):
        _put_point(response.point, item)
    else:
        _put_summary(response.summary, item)
    return response


def models_response(catalogue: HeadCatalogue, limits: Limits) -> pb.ListModelsResponse:
    """What is served, and what requests are held to."""
    return pb.ListModelsResponse(
        models=[
            pb.Model(
                id=each.model.id,
                fingerprint=each.model.fingerprint,
                description=each.model.description,
                heads=[_head(head) for head in each.values()],
            )
            for each in catalogue.models
        ],
        limits=pb.Limits(**limits.named(), shared_memory=limits.shared_memory),
        version=__version__,
    )


def _head(head: ServedHead) -> pb.Head:
    window = head.window
    return pb.Head(
        name=head.name,
        profile=head.profile.name,
        profile_digest=head.profile.digest,
        default_readout=_READOUTS[head.readout],
        labels=[pb.LabelValue(label=label, value=value) for label, value in head.labels.items()],
        required_frames=[role.value for role in head.required_frames],
        optional_frames=[role.value for role in head.optional_frames],
        neutral=head.neutral,
        adapter=head.adapter or "",
        window=None if window is None else pb.HeadWindow(**window_fields(window)),
    )


def _put_reward(wire: pb.HeadReward, answer: HeadAnswer, place: str) -> None:
    wire.head = answer.head
    wire.source = number_of(pb.Source, answer.source)  # type: ignore[assignment]
    if answer.reward is not None:
        wire.reward = answer.reward
    if answer.value is not None:
        wire.value = answer.value
    if answer.age is not None:
        wire.age = answer.age
    if answer.reply is not None:
        put_reply(wire.reply, answer.reply)
    if answer.error is not None:
        wire.error.CopyFrom(problem(located(answer.error, place)))


def _put_point(wire: pb.TrajectoryPoint, point: Point) -> None:
    wire.index = point.index
    if point.time is not None:
        wire.time = point.time
    for head, outcome in point.outcomes.items():
        result = wire.results.add(head=head)
        if isinstance(outcome, DomainError):
            result.error.CopyFrom(problem(outcome))
        else:
            put_reply(result.reply, outcome)


def _put_summary(wire: pb.TrajectorySummary, summary: Summary) -> None:
    wire.frames, wire.points = summary.frames, summary.points
    if summary.fps is not None:
        wire.fps = summary.fps
    for head in summary.heads.values():
        told = wire.heads.add(
            head=head.head,
            points=head.points,
            failed=head.failed,
            first=head.first,
            last=head.last,
            mean=head.mean,
            minimum=head.minimum,
            maximum=head.maximum,
        )
        for value in head.normalised or ():
            told.normalised.add(value=value)
        if head.normalise_error is not None:
            told.normalise_error.CopyFrom(problem(head.normalise_error))


def _put_timings(wire: pb.Timings, timings: Timings) -> None:
    wire.decode_ms = timings.decode_ms
    wire.queue_ms = timings.queue_ms
    wire.engine_ms = timings.engine_ms
    wire.total_ms = timings.total_ms
