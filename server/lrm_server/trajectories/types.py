"""What a trajectory is asked, what it brings, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from lrm_server.errors import DomainError
from lrm_server.frames import Frame
from lrm_server.heads.profile import Readout, Use
from lrm_server.heads.query import Reply
from lrm_server.heads.subtasks import Subtask

Outcome: TypeAlias = Reply | DomainError


class Windows(str, Enum):
    """When a head that looks at a window is asked."""

    WHOLE = "whole"
    """Once, at the last frame that is scored, with the whole trajectory."""
    PREFIXES = "prefixes"
    """At every frame that is scored, with the trajectory up to there."""


class Normalise(str, Enum):
    """How the values of a trajectory are mapped once all of them are known."""

    MIN_MAX = "min_max"
    """Log-probabilities: the smallest becomes 0, the largest 1."""


@dataclass(frozen=True, slots=True)
class TrajectoryLimits:
    """What a trajectory may be.

    Attributes:
        max_bytes: what it brings as it travels; and, for heads that look at a window,
            what the frames that are kept for it weigh.
        max_frames: moments, whether or not they are scored.
        max_trajectories: how many are scored at once.
        max_queries: how many queries of one trajectory are asked at once.
        max_decode_seconds: work of decoding one video.
        seconds: longest that a trajectory is worked on.
    """

    max_bytes: int = 256 * 1024 * 1024
    max_frames: int = 10_000
    max_trajectories: int = 8
    max_queries: int = 16
    max_decode_seconds: float = 120.0
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectorySpec:
    """What is asked of a trajectory.

    Attributes:
        task: the task in words.
        heads: which heads, in the order of the answers; each once.
        fps: frames a second; None for those of the video, or when nothing is known.
        every: every so many moments are scored, from the first, and the last.
        windows: when heads that look at a window are asked.
        normalise: what is made of the values at the end; nothing when None.
        views: names of the cameras; every moment brings a frame of each. Heads of single
            frames look at the first.
        readout: how to read; the checkpoint's default when None.
        use: which number becomes the value; the label's value when None.
        swap: ask a pair in both orders and average the log-odds.
        margin: for pairs, |p - 0.5| below it is undecided; the profile's when None.
        return_text: also return what the model wrote.
        scene: what stands around the robot, in words, for heads that plan.
        subtasks: of the task, for heads that ask about them; made by a model when empty.
    """

    task: str
    heads: tuple[str, ...]
    fps: float | None = None
    every: int = 1
    windows: Windows = Windows.WHOLE
    normalise: Normalise | None = None
    views: tuple[str, ...] = ("",)
    readout: Readout | None = None
    use: Use | None = None
    swap: bool = False
    margin: float | None = None
    return_text: bool = False
    scene: str = ""
    subtasks: tuple[Subtask, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment that is to be scored.

    Attributes:
        index: its number among all moments, from 0.
        time: seconds; None when neither times nor a rate are known.
        frames: one of each view, or why it was refused. One error alone stands for all
            views.
    """

    index: int
    time: float | None
    frames: tuple[Frame | DomainError, ...]


class Source(Protocol):
    """Where the moments that are to be scored come from, in the order of time.

    Iterating raises DomainError where the trajectory as a whole is wrong.
    """

    @property
    def fps(self) -> float | None:
        """Frames a second; None while nothing is known."""
        ...

    @property
    def count(self) -> int:
        """Moments that came so far, whether or not they are to be scored."""
        ...

    def __aiter__(self) -> AsyncIterator[Moment]:
        """The moments to score: every ``every``-th, and the last."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """A moment that was scored.

    Attributes:
        index: its number among all moments.
        time: seconds; None when not known.
        outcomes: by head, of the heads that were asked there.
    """

    index: int
    time: float | None
    outcomes: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSummary:
    """One head over a whole trajectory; figures are of the points that have a value.

    Attributes:
        head: which head.
        points: at how many points it was asked.
        failed: at how many of them it failed.
        first: value at the first point that has one; as the other figures, None when
            none has.
        last: value at the last.
        mean: of the values.
        minimum: of the values.
        maximum: of the values.
        normalised: in [0, 1], one for each point at which the head was asked, None where
            it failed; None when it was not asked for or cannot be given.
        normalise_error: why it cannot be given.
    """

    head: str
    points: int
    failed: int
    first: float | None = None
    last: float | None = None
    mean: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    normalised: tuple[float | None, ...] | None = None
    normalise_error: DomainError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A whole trajectory.

    Attributes:
        frames: moments that came, whether or not they were scored.
        points: moments that were scored.
        fps: frames a second, where known.
        heads: by head, in the order of the specification.
    """

    frames: int
    points: int
    fps: float | None
    heads: Mapping[str, HeadSummary] = field(default_factory=dict)
