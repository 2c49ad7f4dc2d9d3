"""A reward server whose answers are scripted: one core, served over gRPC and over HTTP.

It runs the episode clock as a server does, records every request that reaches it, and
fails as it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc

from lrm_client.clock import (
    ClockConfig,
    ClockState,
    EpisodeOver,
    ResetMissing,
    StepBehind,
    advance,
    due_heads,
    next_query_step,
    open_clock,
)
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import from_wire, to_wire

NEUTRAL = {"contrastive": 0.0, "progress": 0.0, "completion": 0.0, "tri": 1 / 6}
TIMINGS = pb.Timings(decode_ms=1, queue_ms=2, engine_ms=3, total_ms=6)


class ScriptedError(Exception):
    """A whole call fails; without a problem as a proxy would fail it."""

    def __init__(self, status: grpc.StatusCode, problem: pb.Problem | None = None) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem


class Asked(NamedTuple):
    """A head was asked at a step."""

    episode: str
    step: int
    head: str
    frame: bytes


@dataclass
class OpenEpisode:
    spec: pb.EpisodeSpec
    config: ClockConfig
    clock: ClockState
    answered: dict[str, pb.StepResult] = field(default_factory=dict)


def problem(code: str, message: str = "scripted", **fields: Any) -> pb.Problem:
    return pb.Problem(code=code, message=message, **fields)


def frames_of(batch: pb.FrameBatch) -> list[bytes]:
    if batch.WhichOneof("layout") == "tensor":
        # Each reading of the field copies all of it.
        data, size = batch.tensor.data, batch.tensor.height * batch.tensor.width * 3
        return [data[i * size : (i + 1) * size] for i in range(batch.tensor.count)]
    return [frame.data for frame in batch.list.frames]


class ScriptedCore:
    """Answers requests; ``answer`` gives each query's value, or the problem that it fails with."""

    def __init__(self) -> None:
        self.answer: Callable[[Asked], float | pb.Problem] = lambda asked: 0.5
        self.requests: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self.episodes: dict[str, OpenEpisode] = {}
        self._failures: dict[str, deque[ScriptedError | Callable[[], None]]] = {}

    def fail_next(self, method: str, *failures: ScriptedError | Callable[[], None]) -> None:
        """Queues what happens to the next calls of a method; a callable is run instead."""
        self._failures.setdefault(method, deque()).extend(failures)

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.requests)

    def last(self, method: str) -> Any:
        return [request for name, request in self.requests if name == method][-1]

    def lose_episodes(self) -> None:
        self.episodes.clear()

    def handle(self, method: str, request: Any) -> Any:
        self.requests.append((method, request))
        queue = self._failures.get(method)
        failure = queue.popleft() if queue else None
        if isinstance(failure, ScriptedError):
            raise failure
        response = getattr(self, f"_{method}")(request)
        if failure is not None:
            failure()
        return response

    def _Score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:  # noqa: N802
        frames = frames_of(request.frames)
        response = pb.ScoreResponse()
        for query in request.queries:
            asked = Asked("", 0, query.head, frames[query.current] if frames else b"")
            value = self.answer(asked)
            if isinstance(value, pb.Problem):
                response.results.add(error=value)
            else:
                response.results.add(reply=reply(query.head, value, query))
        return response

    def _ScoreTrajectory(  # noqa: N802
        self, messages: list[pb.ScoreTrajectoryRequest]
    ) -> list[pb.ScoreTrajectoryResponse]:
        spec = messages[0].trajectory
        unknown = [head for head in spec.heads if head not in NEUTRAL]
        if unknown:
            error = problem("unknown_head", f"no head {unknown[0]}")
            raise ScriptedError(grpc.StatusCode.NOT_FOUND, error)
        frames = [data for m in messages[1:] for data in frames_of(m.frames.frames)]
        times = [time for m in messages[1:] for time in m.frames.times]
        responses = []
        for index, frame in enumerate(frames):
            point = pb.TrajectoryPoint(index=index, time=times[index] if times else None)
            for head in spec.heads:
                if head == "contrastive" and index == 0:
                    continue
                asked = Asked("", index, head, frame)
                self.asked.append(asked)
                value = self.answer(asked)
                if isinstance(value, pb.Problem):
                    point.results.add(head=head, error=value)
                else:
                    point.results.add(head=head, reply=reply(head, value))
            responses.append(pb.ScoreTrajectoryResponse(point=point))
        summary = pb.TrajectorySummary(frames=len(frames), points=len(frames))
        return [*responses, pb.ScoreTrajectoryResponse(summary=summary)]

    def _OpenEpisodes(self, request: pb.OpenEpisodesRequest) -> pb.OpenEpisodesResponse:  # noqa: N802
        response = pb.OpenEpisodesResponse()
        for spec in request.episodes:
            unknown = [head for head in spec.heads if head not in NEUTRAL]
            if unknown:
                response.results.add(error=problem("unknown_head", f"no head {unknown[0]}"))
                continue
            known = self.episodes.get(spec.id)
            if known is not None and known.spec != spec:
                response.results.add(error=problem("episode_exists", "another specification"))
                continue
            if known is None:
                config = ClockConfig(
                    spec.interval if spec.HasField("interval") else 10,
                    spec.scale if spec.HasField("scale") else 1.0,
                    from_wire(pb.Hold, spec.hold) or "hold",
                    from_wire(pb.Phase, spec.phase) or "episode",
                    spec.offset,
                )
                clock = open_clock({head: NEUTRAL[head] for head in spec.heads})
                self.episodes[spec.id] = OpenEpisode(spec, config, clock)
            episode = self.episodes[spec.id]
            opened = response.results.add().episode
            opened.id = spec.id
            opened.next_query_step = next_query_step(episode.config, episode.clock) or 0
            for head in spec.heads:
                opened.neutral[head] = NEUTRAL[head]
        return response

    def _StepEpisodes(self, request: pb.StepEpisodesRequest) -> pb.StepEpisodesResponse:  # noqa: N802
        frames = frames_of(request.frames)
        return pb.StepEpisodesResponse(results=[self._step(step, frames) for step in request.steps])

    def _step(self, step: pb.EpisodeStep, frames: list[bytes]) -> pb.StepResult:
        def refused(code: str, **fields: Any) -> pb.StepResult:
            error = problem(code, **fields)
            return pb.StepResult(episode=step.episode, step=step.step, error=error)

        episode = self.episodes.get(step.episode)
        if episode is None:
            return refused("episode_not_found")
        if step.request_id in episode.answered:
            return episode.answered[step.request_id]
        try:
            due = due_heads(
                episode.config, episode.clock, step.step, final=step.final, force=step.force
            )
        except StepBehind as error:
            return refused("step_behind", step=error.expected)
        except ResetMissing:
            return refused("frame_required", step=0)
        except EpisodeOver:
            return refused("episode_ended")
        if (due or step.step == 0) and not step.HasField("frame"):
            return refused("frame_required", step=step.step)
        outcomes: dict[str, float | pb.Problem] = {}
        for head in due:
            asked = Asked(step.episode, step.step, head, frames[step.frame])
            self.asked.append(asked)
            outcomes[head] = self.answer(asked)
        values = {h: None if isinstance(v, pb.Problem) else v for h, v in outcomes.items()}
        episode.clock, rewards = advance(
            episode.config, episode.clock, step.step, values, final=step.final
        )
        result = pb.StepResult(episode=step.episode, step=step.step)
        result.reply.timings.CopyFrom(TIMINGS)
        upcoming = next_query_step(episode.config, episode.clock)
        if upcoming is not None:
            result.reply.next_query_step = upcoming
        for reward in rewards:
            wire = result.reply.rewards.add(
                head=reward.head,
                reward=reward.reward,
                value=reward.value,
                source=to_wire(pb.Source, reward.source),
                age=reward.age,
            )
            outcome = outcomes.get(reward.head)
            if isinstance(outcome, pb.Problem):
                wire.error.CopyFrom(outcome)
            elif outcome is not None:
                wire.reply.CopyFrom(reply(reward.head, outcome))
        episode.answered[step.request_id] = result
        return result

    def _CloseEpisodes(self, request: pb.CloseEpisodesRequest) -> pb.CloseEpisodesResponse:  # noqa: N802
        response = pb.CloseEpisodesResponse()
        for episode in request.episodes:
            was_open = self.episodes.pop(episode, None) is not None
            response.results.add(episode=episode, was_open=was_open)
        return response

    def _ListModels(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:  # noqa: N802
        head = pb.Head(
            name="progress",
            profile="lrm-progress",
            profile_digest="d1",
            default_readout=pb.READOUT_LIKELIHOOD,
            labels=[pb.LabelValue(label="0.0", value=0.0), pb.LabelValue(label="1.0", value=1.0)],
            required_frames=["current"],
            optional_frames=["initial"],
            neutral=0.0,
            adapter="progress",
        )
        model = pb.Model(id="lrm-tiny", fingerprint="f1", heads=[head], description="a tiny model")
        limits = pb.Limits(
            max_message_bytes=1 << 26,
            max_frame_bytes=1 << 23,
            max_frame_pixels=1 << 22,
            max_batch=512,
            max_labels=64,
        )
        return pb.ListModelsResponse(models=[model], limits=limits, version="0.1.0")


def reply(head: str, value: float, query: pb.Query | None = None) -> pb.Reply:
    """A reply with every field filled; a composite head's has its parts."""
    text = "thinking" if query is not None and query.return_text else None
    if head == "tri":
        parts = [reply(part, value) for part in ("contrastive", "progress", "completion")]
        return pb.Reply(head=head, value=value, expected=value, components=parts, timings=TIMINGS)
    return pb.Reply(
        head=head,
        probabilities=[
            pb.LabelProbability(label="no", probability=0.25),
            pb.LabelProbability(label="yes", probability=0.75),
        ],
        label_mass=0.9,
        label="yes",
        expected=0.75,
        value=value,
        confidence=0.75,
        text=text,
        readout=(query.readout if query is not None else 0) or pb.READOUT_LIKELIHOOD,
        model="f1",
        profile="d1",
        timings=TIMINGS,
    )
