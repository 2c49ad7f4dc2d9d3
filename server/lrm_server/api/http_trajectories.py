"""The JSON that a trajectory is answered with."""

from __future__ import annotations

from pydantic import Field

from lrm_server.api import to_json
from lrm_server.api.http_replies import AnswerBody, FailedBody, ProblemBody, ReplyBody, absent
from lrm_server.errors import DomainError
from lrm_server.trajectories.types import HeadSummary, Point, Summary


class PointBody(AnswerBody):
    """A frame that was scored."""

    index: int = Field(description="The frame's number, from 0.")
    time_s: float | None = Field(
        description="Seconds; null when neither times nor a rate are known."
    )
    rewards: dict[str, ReplyBody | FailedBody] = Field(
        description="Of the heads that were asked there. One that compares with an earlier frame "
        "is not asked at the first, and one that is given the whole window only at the last."
    )


class HeadSummaryBody(AnswerBody):
    """One head over the whole trajectory; figures are of the points that have a value."""

    points: int = Field(description="Points at which it was asked.")
    failed: int = Field(description="Points at which it failed.")
    first: float | None = Field(description="Value at the first point that has one.")
    last: float | None = Field(description="Value at the last point that has one.")
    mean: float | None = Field(description="Mean value.")
    minimum: float | None = Field(description="Least value.")
    maximum: float | None = Field(description="Greatest value.")
    normalised: list[float | None] | None = Field(
        None,
        description="In [0, 1], one for each point at which it was asked; null where it failed.",
        exclude_if=absent,
    )
    normalise_error: ProblemBody | None = Field(
        None, description="Why they cannot be given.", exclude_if=absent
    )


class SummaryBody(AnswerBody):
    """A whole trajectory."""

    points: int = Field(description="Frames that were scored.")
    heads: dict[str, HeadSummaryBody] = Field(description="By head.")


class TrajectoryScoresBody(AnswerBody):
    """The answer to a trajectory."""

    task: str = Field(description="The task that was asked about.")
    fps: float | None = Field(description="Frames a second, where known.")
    frames: int = Field(description="Frames that came, of each camera.")
    results: list[PointBody] = Field(description="The frames that were scored, in order.")
    summary: SummaryBody


def point_body(point: Point) -> PointBody:
    """A point of a trajectory."""
    return PointBody(
        index=point.index,
        time_s=point.time,
        rewards={
            head: FailedBody(error=to_json.problem(outcome))
            if isinstance(outcome, DomainError)
            else to_json.reply(outcome)
            for head, outcome in point.outcomes.items()
        },
    )


def scores_body(task: str, points: list[PointBody], summary: Summary) -> TrajectoryScoresBody:
    """The answer to a trajectory."""
    return TrajectoryScoresBody(
        task=task,
        fps=summary.fps,
        frames=summary.frames,
        results=points,
        summary=SummaryBody(
            points=summary.points,
            heads={head.head: _head(head) for head in summary.heads.values()},
        ),
    )


def _head(head: HeadSummary) -> HeadSummaryBody:
    error = head.normalise_error
    return HeadSummaryBody(
        points=head.points,
        failed=head.failed,
        first=head.first,
        last=head.last,
        mean=head.mean,
        minimum=head.minimum,
        maximum=head.maximum,
        normalised=list(head.normalised) if head.normalised is not None else None,
        normalise_error=to_json.problem(error) if error is not None else None,
    )
