"""What an episode is opened with: checked here, before anything is kept."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Final

from lrm_client.clock import ClockConfig, Hold, Phase, next_query_step, open_clock
from lrm_server.episodes.queries import EPISODE_ROLES, query_of
from lrm_server.episodes.types import EpisodeSpec, OpenedEpisode
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Encoding, Frame
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.query import placeholder_window
from lrm_server.heads.scorer import Scorer

MAX_ID_LENGTH: Final = 200
MAX_STEP: Final = 2**31 - 1
"""Greatest step and greatest interval, so that every step fits the wire."""


def clock_config(
    *,
    interval: int = 10,
    scale: float = 1.0,
    hold: Hold = Hold.HOLD,
    phase: Phase = Phase.EPISODE,
    offset: int = 0,
) -> ClockConfig:
    """The clock of an episode, from what a request holds.

    Raises:
        DomainError: INVALID_ARGUMENT naming the field that is wrong.
    """
    given = {"interval": interval, "scale": scale, "hold": hold, "phase": phase, "offset": offset}
    for name, value in given.items():
        _check_clock_field(name, value)
    if interval > MAX_STEP:
        raise invalid("interval", f"interval must be at most {MAX_STEP}, not {interval}.")
    return ClockConfig(interval, scale, hold, phase, offset)


def checked_spec(spec: EpisodeSpec, scorer: Scorer) -> EpisodeSpec:
    """The specification with an id, when an episode can be opened with it.

    Raises:
        DomainError: INVALID_ARGUMENT or UNKNOWN_HEAD, its field relative to the
            specification (``task``, ``heads[1]``, ``margin``).
    """
    _check_id(spec.id)
    if not spec.task.strip():
        raise invalid("task", "the task is empty: say in words what the robot is to do.")
    if not spec.heads:
        served = ", ".join(scorer.catalogue)
        raise invalid("heads", f"an episode asks at least one head: choose among {served}.")
    for place, name in enumerate(spec.heads):
        if name in spec.heads[:place]:
            raise invalid(f"heads[{place}]", f"head {name!r} is named twice: name each head once.")
        _check_head(spec, place, scorer)
    return spec if spec.id else replace(spec, id=uuid.uuid4().hex)


def neutral_values(spec: EpisodeSpec, catalogue: HeadCatalogue) -> Mapping[str, float]:
    """Each head's value before its first query, in the order of the heads."""
    return {name: catalogue[name].neutral for name in spec.heads}


def opened_reply(spec: EpisodeSpec, catalogue: HeadCatalogue) -> OpenedEpisode:
    """The answer to an opening.

    It depends on the specification alone, so that an opening that is retried, at whatever
    step the episode stands, is answered as it was at first.
    """
    neutral = neutral_values(spec, catalogue)
    first = next_query_step(spec.clock, open_clock(neutral))
    if first is None:
        raise AssertionError("an episode that has not begun has not ended")
    return OpenedEpisode(spec.id, first, neutral)


def _check_clock_field(name: str, value: object) -> None:
    """Checks a field of a clock by itself, so that the one at fault is known."""
    try:
        ClockConfig(**{name: value})  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise invalid(name, f"{error}.") from error


def _check_id(name: str) -> None:
    if len(name) > MAX_ID_LENGTH:
        raise invalid(
            "id", f"the id has {len(name)} characters; it may have at most {MAX_ID_LENGTH}."
        )
    if "/" in name or not name.isprintable():
        raise invalid(
            "id",
            f"the id {name!r} has a '/' or a character that cannot be printed: choose another, "
            "or leave it empty for one that the server makes.",
        )


def _check_head(spec: EpisodeSpec, place: int, scorer: Scorer) -> None:
    field = f"heads[{place}]"
    try:
        head = scorer.catalogue[spec.heads[place]]
    except DomainError as error:
        raise DomainError(error.code, error.message, field=field) from error
    missing = [role.value for role in head.required_frames if role not in EPISODE_ROLES]
    if missing:
        raise invalid(
            field,
            f"head {head.name} needs the frame {missing[0]}, which an episode does not have: "
            "ask it with Score.",
        )
    if head.window is not None and head.window.views > 1:
        raise invalid(
            field,
            f"head {head.name} looks at {head.window.views} views, and a step of an episode has "
            "one frame: ask it with Score.",
        )
    frames = dict.fromkeys(head.required_frames, _placeholder())
    window = placeholder_window(head.window, _placeholder())
    if head.window is not None:
        # The shortest window of an episode is the initial frame and that of the first query.
        window = (*window, *window)[: max(2, len(window))]
    scorer.check(query_of(spec, head.name, frames, window=window))


@cache
def _placeholder() -> Frame:
    """Stands for the frames that come with the steps, so that all else can be checked."""
    side = 64
    return Frame(bytes(side * side * 3), Encoding.RAW, side, side)
