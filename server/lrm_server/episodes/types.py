"""What episodes are asked and what they answer; no transport, no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lrm_client.clock import ClockConfig, Source
from lrm_server.errors import DomainError
from lrm_server.frames import Frame
from lrm_server.heads.profile import Readout, Use
from lrm_server.heads.query import Reply, Timings
from lrm_server.heads.subtasks import Subtask


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSpec:
    """What is fixed when an episode opens.

    Attributes:
        id: chosen by the caller, or "" for one that the server makes.
        task: the task in words; not empty.
        heads: which heads are asked, in the order of the answers; distinct.
        clock: interval, scale, hold, phase and offset.
        use: which number becomes the value; the label's value when None.
        readout: how to read; the checkpoint's default when None.
        swap: ask pairs in both orders.
        margin: for pairs; the profile's when None.
        fps: steps per second, which heads that see a video are told.
        scene: what stands around the robot, in words, for heads that plan.
        subtasks: of the task, for heads that ask about them; made by a model when empty.
    """

    id: str = ""
    task: str
    heads: tuple[str, ...]
    clock: ClockConfig
    use: Use | None = None
    readout: Readout | None = None
    swap: bool = False
    margin: float | None = None
    fps: float | None = None
    scene: str = ""
    subtasks: tuple[Subtask, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenedEpisode:
    """Answer to an opening: the id, the first due step, each head's neutral value."""

    id: str
    next_query_step: int
    neutral: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeStep:
    """One step of one episode.

    Attributes:
        episode: the episode's id.
        step: 0 is the reset observation.
        frame: needed at step 0 and where a query is due; elsewhere ignored. An
            error stands for a frame whose bytes were refused, and fails the step
            only where the frame is needed.
        final: terminated or truncated.
        force: query at this step whatever the clock says.
        request_id: names the attempt, so that a retry gets the same answer.
        deadline: time.monotonic() seconds after which nobody waits.
    """

    episode: str
    step: int
    frame: Frame | DomainError | None = None
    final: bool = False
    force: bool = False
    request_id: str = ""
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadAnswer:
    """One head's part of a step's answer; as the specification names its fields.

    Attributes:
        head: which head.
        reward: scaled; None exactly when the source is failed.
        value: held or neutral value; None exactly when the source is failed.
        source: where the reward comes from.
        age: steps since the value was queried; None before the first query.
        reply: of the query, when the source is queried.
        error: why the query failed, when the source is failed.
    """

    head: str
    reward: float | None
    value: float | None
    source: Source
    age: int | None
    reply: Reply | None = None
    error: DomainError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnswer:
    """Answer to a step: none of the heads at step 0; no next query after the final step."""

    episode: str
    step: int
    rewards: tuple[HeadAnswer, ...]
    next_query_step: int | None
    timings: Timings = field(default_factory=Timings)
