"""The moments of a trajectory whose frames arrive one by one."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lrm_client.thinning import Thinning
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Frame
from lrm_server.trajectories.types import Moment, TrajectoryLimits, TrajectorySpec

Timed: TypeAlias = tuple[float | None, tuple[Frame | DomainError, ...]]
"""When a moment was, in seconds where that is known, and its frames."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Frames that came together.

    Attributes:
        frames: moment by moment, those of a moment in the order of the views; each opened,
            or why it was refused.
        times: seconds of each moment; empty when they come at the trajectory's rate.
    """

    frames: Sequence[Frame | DomainError]
    times: Sequence[float] = ()


class FrameSource:
    """Moments made of frames as they arrive.

    Args:
        spec: which views there are and how many moments are scored.
        arriving: the frames, in the order of time.
        limits: of a trajectory.
    """

    def __init__(
        self, spec: TrajectorySpec, arriving: AsyncIterator[Arrived], limits: TrajectoryLimits
    ) -> None:
        self._spec = spec
        self._arriving = arriving
        self._limits = limits
        self._thinning: Thinning[Timed] = Thinning(spec.every)
        self._times: tuple[float, float] | None = None

    @property
    def count(self) -> int:
        """Moments that came."""
        return self._thinning.count

    @property
    def fps(self) -> float | None:
        """The rate that was named, else that of the times so far."""
        if self._spec.fps is not None or self._times is None or self.count < 2:
            return self._spec.fps
        first, latest = self._times
        return (self.count - 1) / (latest - first)

    async def __aiter__(self) -> AsyncIterator[Moment]:
        """The moments that are to be scored.

        Raises:
            DomainError: INVALID_ARGUMENT of ``frames`` or ``times``.
        """
        async for arrived in self._arriving:
            for item in self._moments(arrived):
                taken = self._thinning.take(item)
                if taken is not None:
                    yield self._moment(*taken)
        if not self.count:
            raise invalid("frames", "the trajectory has no frames: send at least one.")
        rest = self._thinning.rest()
        if rest is not None:
            yield self._moment(*rest)

    def _moments(self, arrived: Arrived) -> Iterator[Timed]:
        frames, times, views = arrived.frames, arrived.times, len(self._spec.views)
        if len(frames) % views:
            raise invalid(
                "frames",
                f"{len(frames)} frames came together and there are {views} views: send the frames "
                "of a moment together, one of each view.",
            )
        moments = len(frames) // views
        if self.count + moments > self._limits.max_frames:
            raise invalid(
                "frames",
                f"the trajectory has over {self._limits.max_frames} moments, which is the limit: "
                "send fewer, or raise max_trajectory_frames on the server.",
            )
        if times and len(times) != moments:
            raise invalid("times", f"{len(times)} times came for {moments} moments: send as many.")
        if self.count and bool(times) != (self._times is not None):
            raise invalid("times", "some frames have times and others none: send all, or none.")
        for at in range(moments):
            time = times[at] if times else None
            self._note(time)
            yield time, tuple(frames[at * views : (at + 1) * views])

    def _note(self, time: float | None) -> None:
        if time is None:
            return
        if not math.isfinite(time) or (self._times is not None and time <= self._times[1]):
            raise invalid(
                "times",
                f"the time of frame {self.count} is {time:g}: times are finite seconds and each is "
                "later than the one before.",
            )
        self._times = (self._times[0] if self._times else time, time)

    def _moment(self, index: int, item: Timed) -> Moment:
        time, frames = item
        if time is None and self._spec.fps is not None:
            time = index / self._spec.fps
        return Moment(index, time, frames)
