"""From a trajectory's points on the wire to its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lrm_client.errors import FailedPoint, LrmError, ServerError, TrajectoryFailed
from lrm_client.frames import FrameEncoder
from lrm_client.problems import error_from_problem
from lrm_client.replies import reply_from_wire
from lrm_client.trajectories import (
    HeadScores,
    TrajectoryFailure,
    TrajectoryLike,
    TrajectoryOptions,
    TrajectoryPoint,
    TrajectoryScores,
)
from lrm_client.trajectory_requests import SentTrajectory
from lrm_client.types import Reply
from lrm_client.wire import reward_pb2 as pb


class Collected:
    """Takes the server's answers to a trajectory as they come.

    Args:
        sent: the trajectory.
        failure: what becomes of points that failed.
        on_point: called with each point.

    Raises:
        ValueError: an unknown failure policy.
    """

    def __init__(
        self,
        sent: SentTrajectory,
        failure: TrajectoryFailure = "raise",
        on_point: Callable[[TrajectoryPoint], Any] | None = None,
    ) -> None:
        if failure not in ("raise", "mask"):
            raise ValueError(f"failure must be raise or mask, not {failure!r}")
        self._sent = sent
        self._failure = failure
        self._on_point = on_point
        self._points: list[TrajectoryPoint] = []
        self._summary: pb.TrajectorySummary | None = None

    def take(self, response: pb.ScoreTrajectoryResponse) -> None:
        """Takes one message of the server.

        Raises:
            ServerError: it is not of this protocol.
        """
        if response.WhichOneof("message") == "summary":
            self._summary = response.summary
            return
        wire = response.point
        try:
            index = self._sent.index_of(wire.index)
        except IndexError:
            raise ServerError(f"the server scored frame {wire.index}, which was not sent") from None
        point = TrajectoryPoint(
            index,
            wire.time if wire.HasField("time") else None,
            {result.head: _outcome(result) for result in wire.results},
        )
        self._points.append(point)
        if self._on_point is not None:
            self._on_point(point)

    def scores(self) -> TrajectoryScores:
        """The values, when the server has said all.

        Raises:
            TrajectoryFailed: a point failed, and the policy is to raise.
            ServerError: the answer breaks off.
        """
        summary, spec = self._summary, self._sent.spec
        if summary is None:
            raise ServerError("the server's answer to the trajectory ended without its summary")
        told = {head.head: head for head in summary.heads}
        count = self._sent.count
        scores = TrajectoryScores(
            spec.task,
            summary.fps if summary.HasField("fps") else None,
            summary.frames if count is None else count,
            {head: _head_scores(head, self._points, told.get(head)) for head in spec.heads},
            tuple(self._points),
        )
        failures = [
            FailedPoint(point.index, head, outcome)
            for point in self._points
            for head, outcome in point.outcomes.items()
            if isinstance(outcome, LrmError)
        ]
        if failures and self._failure == "raise":
            raise TrajectoryFailed(failures, scores)
        return scores


def prepared(
    frames: TrajectoryLike,
    task: str,
    heads: Sequence[str],
    encoder: FrameEncoder,
    options: TrajectoryOptions,
) -> tuple[SentTrajectory, Collected]:
    """A trajectory that is ready to be sent, and what takes its answers.

    Raises:
        InvalidRequest: what no server could take.
        ValueError: an unknown failure policy.
    """
    asked: dict[str, Any] = dict(options)
    failure = asked.pop("failure", "raise")
    on_point = asked.pop("on_point", None)
    sent = SentTrajectory(frames, task, heads, encoder, **asked)
    return sent, Collected(sent, failure, on_point)


def _outcome(result: pb.HeadResult) -> Reply | LrmError:
    if result.WhichOneof("outcome") != "reply":
        return error_from_problem(result.error)
    reply = reply_from_wire(result.reply)
    if not math.isfinite(reply.value):
        return ServerError(f"the server gave the value {reply.value}")
    return reply


def _head_scores(
    head: str, points: Sequence[TrajectoryPoint], told: pb.HeadSummary | None
) -> HeadScores:
    asked = [point for point in points if head in point.outcomes]
    outcomes = [point.outcomes[head] for point in asked]
    replies = tuple(each if isinstance(each, Reply) else None for each in outcomes)
    normalised = None
    if told is not None and told.normalised:
        if len(told.normalised) != len(asked):
            raise ServerError(
                f"the server gave {len(told.normalised)} normalised values for {len(asked)} points"
            )
        normalised = np.asarray(
            [entry.value if entry.HasField("value") else np.nan for entry in told.normalised],
            np.float32,
        )
    error = (
        error_from_problem(told.normalise_error)
        if told is not None and told.HasField("normalise_error")
        else None
    )
    return HeadScores(
        np.asarray([np.nan if each is None else each.value for each in replies], np.float32),
        np.asarray([point.index for point in asked], np.int64),
        np.asarray([np.nan if p.time is None else p.time for p in asked], np.float64),
        replies,
        tuple(each if isinstance(each, LrmError) else None for each in outcomes),
        normalised,
        error,
    )
