"""The frames of a trajectory that are kept for heads that look at a window."""

from __future__ import annotations

from dataclasses import dataclass

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Frame
from lrm_server.heads.query import WindowFrame
from lrm_server.trajectories.types import Moment


@dataclass(frozen=True, slots=True)
class _Kept:
    index: int
    time: float | None
    frames: tuple[Frame, ...]


class Kept:
    """The good moments of a trajectory so far, in the order of time, within a bound.

    Args:
        views: names of the cameras.
        max_bytes: of all frames that are kept, as they are kept: compressed ones as they
            came, those of a video as pixels. Beyond it nothing is kept any more.
    """

    def __init__(self, views: tuple[str, ...], max_bytes: int) -> None:
        self._views = views
        self._max_bytes = max_bytes
        self._bytes = 0
        self._moments: list[_Kept] = []
        self._origin: tuple[int, float | None] | None = None
        self._over: DomainError | None = None

    def __len__(self) -> int:
        return len(self._moments)

    def came(self, moment: Moment) -> None:
        """Notes a moment, good or not: the axis of time begins with the first."""
        if self._origin is None:
            self._origin = (moment.index, moment.time)

    def add(self, moment: Moment, frames: tuple[Frame, ...]) -> None:
        """Keeps a good moment's frames."""
        if self._over is not None:
            return
        self._bytes += sum(frame.nbytes for frame in frames)
        if self._bytes > self._max_bytes:
            self._over = DomainError(
                ErrorCode.IMAGE_TOO_LARGE,
                f"the {len(self._moments) + 1} frames of the window weigh over "
                f"{self._max_bytes} bytes: score fewer (a larger every), send smaller ones, or "
                "raise max_trajectory_mib on the server.",
                field="every",
            )
            self._moments.clear()
            return
        for frame in frames:
            frame.detach()
        self._moments.append(_Kept(moment.index, moment.time, frames))

    def window(self, fps: float | None) -> tuple[WindowFrame, ...]:
        """All that is kept: view by view, each with its numbers on the axis of time.

        Args:
            fps: frames a second of that axis; a frame's number among all moments when it
                or the times are not known.

        Raises:
            DomainError: IMAGE_TOO_LARGE, there was more than may be kept.
        """
        if self._over is not None:
            raise self._over
        numbers = self._numbers(fps)
        return tuple(
            WindowFrame(moment.frames[at], view, number)
            for at, view in enumerate(self._views)
            for moment, number in zip(self._moments, numbers, strict=True)
        )

    def _numbers(self, fps: float | None) -> list[int]:
        first, begin = self._origin or (0, None)
        numbers: list[int] = []
        for moment in self._moments:
            if fps is None or begin is None or moment.time is None:
                number = moment.index - first
            else:
                number = round((moment.time - begin) * fps)
            # Frames that come faster than the rate says still follow one another.
            numbers.append(max(number, numbers[-1] + 1) if numbers else number)
        return numbers
