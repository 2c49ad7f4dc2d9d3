"""Trajectories: the frames of one attempt, or a video of it, scored in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from lrm_client.errors import LrmError
from lrm_client.frames import FrameLike
from lrm_client.subtasks import Subtask
from lrm_client.types import Readout, Reply, Use

TrajectoryLike: TypeAlias = (
    bytes | NDArray[np.uint8] | Iterable[FrameLike] | Mapping[str, Sequence[FrameLike]]
)
"""The bytes of a video file, uint8 (T, H, W, 3), frames in the order of time, or those of
several cameras by their names."""

TrajectoryFailure: TypeAlias = Literal["raise", "mask"]
"""What becomes of a point that failed: an exception when all are there, or NaN."""


class Windows(str, Enum):
    """When a head that looks at a window is asked."""

    WHOLE = "whole"
    """Once, at the last frame, with the whole trajectory."""
    PREFIXES = "prefixes"
    """At every frame that is scored, with the trajectory up to there."""


class Normalise(str, Enum):
    """What is made of a trajectory's values when all of them are there."""

    MIN_MAX = "min_max"
    """Log-probabilities are mapped to [0, 1]: the smallest becomes 0, the largest 1."""


@dataclass(frozen=True, slots=True)
class TrajectoryPoint:
    """A frame that was scored.

    Attributes:
        index: its number in the trajectory, from 0.
        time: seconds; None when neither times nor a rate are known.
        outcomes: by head, of those that were asked there: the reply, or why there is none.
    """

    index: int
    time: float | None
    outcomes: Mapping[str, Reply | LrmError]


@dataclass(frozen=True, slots=True, eq=False)
class HeadScores:
    """One head's values along a trajectory, at the T points at which it was asked.

    A head that compares with an earlier frame is not asked at the first, and one that is
    given the whole window only at the last.

    Attributes:
        values: float32 (T,); NaN where the head failed.
        indices: int64 (T,): the frames' numbers in the trajectory.
        times: float64 (T,): their seconds; NaN where not known.
        replies: T of them; None where the head failed.
        errors: T of them; None where it did not fail.
        normalised: float32 (T,) in [0, 1], NaN where the head failed; None when it was
            not asked for or cannot be given.
        normalise_error: why it cannot be given, as for a trajectory that is flat.
    """

    values: NDArray[np.float32]
    indices: NDArray[np.int64]
    times: NDArray[np.float64]
    replies: tuple[Reply | None, ...]
    errors: tuple[LrmError | None, ...]
    normalised: NDArray[np.float32] | None = None
    normalise_error: LrmError | None = None

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Bool (T,): whether there is a value."""
        return np.asarray([error is None for error in self.errors], np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class TrajectoryScores:
    """A trajectory's values.

    Attributes:
        task: what was asked about.
        fps: frames a second; None when not known.
        frames: how many the trajectory has, of each camera.
        heads: by head, in the order in which they were asked for.
        points: the frames that were scored, in order.
    """

    task: str
    fps: float | None
    frames: int
    heads: Mapping[str, HeadScores]
    points: tuple[TrajectoryPoint, ...]

    def __getitem__(self, head: str) -> HeadScores:
        """One head's values.

        Raises:
            KeyError: it was not asked.
        """
        return self.heads[head]


class TrajectoryOptions(TypedDict, total=False):
    """What may be said of a trajectory beside its frames, its task and its heads.

    Attributes:
        fps: frames a second. Of a video, counts instead of the file's own times.
        times: seconds of each frame, increasing, where there is no one rate.
        every: every so many frames are scored, from the first, and the last; others
            do not travel. 1 unless said.
        windows: for heads that look at a window; whole unless said.
        normalise: None unless said.
        readout: None for the checkpoint's default.
        use: None for the label's value.
        swap: contrastive: ask both orders and average their log-odds.
        margin: contrastive: |p(current) - 0.5| below it is undecided. In [0, 0.5].
        return_text: whether replies carry what the model wrote.
        scene: as of ``Query``.
        subtasks: as of ``Query``.
        failure: ``raise``, unless said, or ``mask``.
        on_point: called with each point when it is there: as the server answers over
            gRPC, at the end over HTTP.
    """

    fps: float | None
    times: Sequence[float] | None
    every: int
    windows: Windows | str
    normalise: Normalise | str | None
    readout: Readout | str | None
    use: Use | str | None
    swap: bool
    margin: float | None
    return_text: bool
    scene: str
    subtasks: Sequence[Subtask]
    failure: TrajectoryFailure
    on_point: Callable[[TrajectoryPoint], Any] | None
