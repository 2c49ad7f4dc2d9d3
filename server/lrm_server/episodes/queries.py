"""What a head's query is given of an episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lrm_server.episodes.types import EpisodeSpec
from lrm_server.frames import Frame
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query, WindowFrame

EPISODE_ROLES: Final = frozenset({Role.INITIAL, Role.PREVIOUS, Role.CURRENT})
"""The frames that an episode can give to a query."""


def looks_at(head: ServedHead, role: Role) -> bool:
    """Whether a head's query has a frame in a role."""
    return role in head.required_frames or role in head.optional_frames


def query_of(
    spec: EpisodeSpec,
    head: str,
    frames: Mapping[Role, Frame],
    deadline: float | None = None,
    window: tuple[WindowFrame, ...] = (),
) -> Query:
    """The query of one head; what says nothing to it is passed all the same.

    Swap and margin are for heads that compare a pair, scene and subtasks for those that plan.
    """
    return Query(
        head=head,
        task=spec.task,
        frames=frames,
        window=window,
        fps=spec.fps,
        readout=spec.readout,
        use=spec.use,
        swap=spec.swap,
        margin=spec.margin,
        scene=spec.scene,
        subtasks=spec.subtasks,
        deadline=deadline,
    )
