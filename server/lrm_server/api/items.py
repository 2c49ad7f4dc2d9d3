"""Items as both transports make them: checks that the core's types do not make themselves."""

from __future__ import annotations

from typing import Any, TypeAlias

from lrm_client.clock import ClockConfig, Hold, Phase
from lrm_server.episodes.opening import clock_config
from lrm_server.errors import DomainError
from lrm_server.frames import Frame
from lrm_server.heads.window import Window

FrameOrRefusal: TypeAlias = Frame | DomainError
"""A frame, or why its bytes were refused."""


def clock_of(
    *,
    interval: int | None,
    scale: float | None,
    hold: str | None,
    phase: str | None,
    offset: int,
) -> ClockConfig:
    """The clock of an episode; what a request leaves out is the specification's default.

    Raises:
        DomainError: INVALID_ARGUMENT naming ``interval``, ``scale`` or ``offset``.
    """
    given = {
        "interval": interval,
        "scale": scale,
        "hold": Hold(hold) if hold else None,
        "phase": Phase(phase) if phase else None,
        "offset": offset,
    }
    named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return clock_config(**named)


def usable(frame: FrameOrRefusal, field: str) -> Frame:
    """The frame.

    Raises:
        DomainError: why its bytes were refused, with the field that refers to it.
    """
    if isinstance(frame, DomainError):
        raise frame.within(field)
    return frame


def located(error: DomainError, place: str) -> DomainError:
    """The error of an item with its field named from the whole request.

    An error that is no field's fault stays so.
    """
    return error.within(place) if error.field else error


def window_fields(window: Window) -> dict[str, Any]:
    """What callers are told of a head's window."""
    return {
        "media": window.media,
        "min_frames": window.min_frames,
        "max_frames": window.max_frames,
        "views": window.views,
    }
