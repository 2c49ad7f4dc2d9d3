"""What is wrong with a trajectory before a frame of it is looked at."""

from __future__ import annotations

import math
from typing import Final

from lrm_server.episodes.queries import EPISODE_ROLES
from lrm_server.errors import DomainError, invalid
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.profile import LabelProfile
from lrm_server.trajectories.types import Normalise, TrajectorySpec, Windows

OF_THE_SPEC: Final = frozenset(
    {"task", "head", "fps", "readout", "use", "swap", "margin", "scene", "subtasks"}
)
"""Fields of a query that every query of a trajectory has alike."""


def check_spec(spec: TrajectorySpec, catalogue: HeadCatalogue) -> None:
    """Refuses what no frames could make right; what a head's query refuses is its own.

    Raises:
        DomainError: UNKNOWN_HEAD, or INVALID_ARGUMENT, naming the field.
    """
    if not spec.task.strip():
        raise invalid("task", "the task is empty: say in words what the robot is to do.")
    if not spec.heads:
        raise invalid("heads", f"name at least one head of {', '.join(catalogue)}.")
    if len(set(spec.heads)) < len(spec.heads):
        raise invalid("heads", f"a head is asked once: {', '.join(spec.heads)} names one twice.")
    if spec.every < 1:
        raise invalid("every", f"every is {spec.every}; it must be at least 1.")
    if spec.fps is not None and not 0 < spec.fps < math.inf:
        raise invalid("fps", f"fps is {spec.fps:g}; it must be finite and above 0.")
    if not spec.views or len(set(spec.views)) < len(spec.views):
        raise invalid("views", "each view has a name of its own.")
    for at, name in enumerate(spec.heads):
        try:
            head = catalogue[name]
        except DomainError as error:
            raise DomainError(error.code, error.message, field=f"heads[{at}]") from None
        _check_head(spec, head, f"heads[{at}]")
    if spec.normalise is Normalise.MIN_MAX:
        _check_normalise(spec, catalogue)


def _check_head(spec: TrajectorySpec, head: ServedHead, field: str) -> None:
    window = head.window
    if window is not None and window.views != len(spec.views):
        raise invalid(
            "views",
            f"head {head.name} looks at {window.views} view(s) and the trajectory has "
            f"{len(spec.views)}: send as many, or leave the head out.",
        )
    if set(head.required_frames) - EPISODE_ROLES:
        raise invalid(
            field, f"head {head.name} needs a frame of the goal: ask it by single queries."
        )


def _check_normalise(spec: TrajectorySpec, catalogue: HeadCatalogue) -> None:
    paid = [name for name in spec.heads if _by_log_probability(catalogue[name])]
    if not paid:
        raise invalid(
            "normalise",
            "min_max maps log-probabilities, and none of the heads "
            f"{', '.join(spec.heads)} is paid by one: leave it out.",
        )
    windowed = [name for name in paid if catalogue[name].window is not None]
    if windowed and spec.windows is not Windows.PREFIXES:
        raise invalid(
            "windows",
            f"min_max compares the prefixes of a trajectory: ask head {windowed[0]} with windows "
            "prefixes.",
        )


def _by_log_probability(head: ServedHead) -> bool:
    return isinstance(head.profile, LabelProfile) and head.profile.normalise == "vocabulary"
