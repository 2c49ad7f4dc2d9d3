"""Which heads answer Robometer's samples, the queries of a sample, and its answer from them.

Robometer's own heads answer where the checkpoint has them. Where it has not, progress and
completion are asked about every frame (with the first as the initial one), and a preference
is which of the two last frames is closer to the goal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lrm_server.api.compat.robometer_samples import (
    PreferenceSample,
    Sample,
    Trajectory,
)
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Frame
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.profile import Readout, Role
from lrm_server.heads.query import Query, Reply, WindowFrame

STEP_FRAMES: Final = 4
"""Frames that Robometer's server shows of each prefix when it judges frame by frame."""


@dataclass(frozen=True, slots=True)
class Traced:
    """The answer to a progress sample, a value for each frame.

    Attributes:
        progress: in [0, 1].
        success: probabilities; None when no head tells success.
    """

    progress: tuple[float, ...]
    success: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Preferred:
    """The answer to a preference sample: how probably the chosen trajectory is the better."""

    probability: float


def own_head(catalogue: HeadCatalogue, reads: str) -> str | None:
    """The name of the served head that reads Robometer's ``reads``; None where none does."""
    return next(
        (
            head.name
            for head in catalogue.values()
            if isinstance(head.profile, FrameProfile) and head.profile.reads == reads
        ),
        None,
    )


class RobometerHeads:
    """Turns samples into queries of the heads that are served, and replies into answers."""

    def __init__(self, catalogue: HeadCatalogue, deadline: float) -> None:
        self._catalogue = catalogue
        self._deadline = deadline
        self._traces = own_head(catalogue, "progress")
        self._prefers = own_head(catalogue, "preference")

    def queries(self, sample: Sample, frame_steps: bool) -> list[Query]:
        """The queries of a sample.

        Raises:
            DomainError: UNKNOWN_HEAD when no head that is served answers it.
        """
        if isinstance(sample, PreferenceSample):
            return [self._preference(sample)]
        if self._traces is not None:
            return self._windows(self._traces, sample.trajectory, frame_steps)
        return self._frame_by_frame(sample.trajectory)

    def answer(
        self, sample: Sample, replies: Sequence[Reply], frame_steps: bool
    ) -> Traced | Preferred:
        """A sample's answer from the replies to its queries, in order.

        Raises:
            DomainError: INTERNAL when a head does not give what its name promises.
        """
        if isinstance(sample, PreferenceSample):
            return _preferred(replies[0])
        if self._traces is not None:
            return _from_series(replies, frame_steps)
        count = len(sample.trajectory.frames)
        success = replies[count:]
        return Traced(
            tuple(map(_expected, replies[:count])),
            tuple(map(_expected, success)) if success else None,
        )

    def named(self) -> Mapping[str, str | None]:
        """Output -> by which head it is answered; None for those that nobody answers."""
        return {
            "progress": self._traces or self._framewise("progress"),
            "success": self._traces or self._framewise("completion"),
            "preference": self._prefers or self._framewise("contrastive"),
        }

    def _windows(self, head: str, trajectory: Trajectory, frame_steps: bool) -> list[Query]:
        frames = trajectory.frames
        prefixes: list[Sequence[Frame]] = [frames]
        if frame_steps:
            prefixes = [[frames[at] for at in _step_places(last)] for last in range(len(frames))]
        return [
            Query(head=head, task=trajectory.task, window=_window(prefix), deadline=self._deadline)
            for prefix in prefixes
        ]

    def _frame_by_frame(self, trajectory: Trajectory) -> list[Query]:
        head = self._require("progress", "progress samples")
        shown = self._catalogue[head]
        initial = Role.INITIAL in (*shown.required_frames, *shown.optional_frames)
        first = {Role.INITIAL: trajectory.frames[0]} if initial else {}
        frames = trajectory.frames
        queries = [
            self._query(head, trajectory.task, {**first, Role.CURRENT: frame}) for frame in frames
        ]
        success = self._framewise("completion")
        if success is not None:
            queries += [
                self._query(success, trajectory.task, {Role.CURRENT: frame}) for frame in frames
            ]
        return queries

    def _preference(self, sample: PreferenceSample) -> Query:
        task = sample.chosen.task
        if self._prefers is not None:
            return Query(
                head=self._prefers,
                task=task,
                window=_window(sample.chosen.frames),
                other_window=_window(sample.rejected.frames),
                deadline=self._deadline,
            )
        head = self._require("contrastive", "preference samples")
        return self._query(
            head,
            task,
            {Role.PREVIOUS: sample.rejected.frames[-1], Role.CURRENT: sample.chosen.frames[-1]},
            # Which of the two stands first must not matter.
            swap=self._catalogue[head].readout is not Readout.GENERATE,
        )

    def _query(
        self, head: str, task: str, frames: Mapping[Role, Frame], swap: bool = False
    ) -> Query:
        return Query(head=head, task=task, frames=frames, swap=swap, deadline=self._deadline)

    def _framewise(self, head: str) -> str | None:
        """The head of this name, if it is served and looks at single frames."""
        served = head in self._catalogue and bool(self._catalogue[head].required_frames)
        return head if served else None

    def _require(self, head: str, samples: str) -> str:
        if self._framewise(head) is None:
            raise DomainError(
                ErrorCode.UNKNOWN_HEAD,
                f"{samples} need Robometer's heads or the head {head}, and neither is served: "
                f"serve a checkpoint that has one. Served are: {', '.join(self._catalogue)}.",
            )
        return head


def _window(frames: Sequence[Frame]) -> tuple[WindowFrame, ...]:
    return tuple(WindowFrame(frame, index=at) for at, frame in enumerate(frames))


def _step_places(last: int) -> list[int]:
    """The frames of a prefix that are shown, as Robometer's server picks them."""
    return [int(at) for at in np.linspace(0, last, STEP_FRAMES, dtype=int)]


def _from_series(replies: Sequence[Reply], frame_steps: bool) -> Traced:
    progress: list[float] = []
    success: list[float] = []
    for reply in replies:
        # Frames beyond the model's most are not shown and have no value.
        of_frames = [
            [value for value in reply.series.get(name, ()) if value is not None]
            for name in ("progress", "success")
        ]
        if not all(of_frames):
            raise DomainError(
                ErrorCode.INTERNAL,
                f"the head {reply.head} gives no progress and success for each frame.",
            )
        progress += of_frames[0][-1:] if frame_steps else of_frames[0]
        success += of_frames[1][-1:] if frame_steps else of_frames[1]
    return Traced(tuple(progress), tuple(success))


def _expected(reply: Reply) -> float:
    """What the model expects, as Robometer's heads do; the written label's where there is none."""
    return reply.value if reply.expected is None else reply.expected


def _preferred(reply: Reply) -> Preferred:
    """From a head that is worth +1 for the chosen trajectory and -1 for the rejected one."""
    if reply.expected is None:
        raise DomainError(
            ErrorCode.INTERNAL,
            f"the head {reply.head} is read by {reply.readout.value}, which gives no probability "
            "of a preference: serve it with the readout likelihood or reason_then_read.",
        )
    return Preferred((reply.expected + 1.0) / 2.0)
