"""Heads that compare a frame with the task in a space of pictures and texts (CLIP).

The similarity is that of VLM-RM (arXiv 2310.12921): the cosine of frame and goal, or,
with a baseline text (the scene without its goal) and a strength ``alpha`` above 0, the
same after what tells nothing between baseline and goal is taken out:

    1 - |alpha proj(s) + (1 - alpha) s - g|^2 / 2

with the vectors s of the frame, g of the goal and b of the baseline, and proj onto the
line through b and g. At alpha = 0 this is the cosine of s and g.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lrm_server.engine.embedder import Embedder
from lrm_server.engine.protocol import FrameSlot
from lrm_server.errors import invalid
from lrm_server.heads.profile import Readout, Role
from lrm_server.heads.query import Query, Reply, Timings
from lrm_server.heads.similarity_profile import SimilarityProfile

Vector = npt.NDArray[np.float32]

_SAME = 1e-6
"""Squared distance below which goal and baseline are one text to the model."""


async def ask_for_similarity(
    embedder: Embedder, head: str, profile: SimilarityProfile, query: Query
) -> Reply:
    """The similarity of the query's current frame with its task, as the profile has it.

    Args:
        embedder: whose space is used.
        head: the name by which it was asked.
        profile: of the head.
        query: which brings the profile's frames.

    Raises:
        DomainError: the query failed.
    """
    slots = [FrameSlot(query.frames[role], role.value) for role in profile.required_frames]
    found = await embedder.embed(slots, profile.texts(query.task), query.deadline)
    goal = found.texts[0]
    baseline = found.texts[1] if profile.baseline else None
    by_role = {
        role: similarity(vector, goal, baseline, profile.alpha)
        for role, vector in zip(profile.required_frames, found.frames, strict=True)
    }
    value = by_role[Role.CURRENT]
    if profile.since_initial:
        value -= by_role[Role.INITIAL]
    if profile.unit is not None:
        value = profile.unit.value(value)
    return Reply(
        head=head,
        expected=value,
        value=value,
        readout=Readout.LIKELIHOOD,
        model=embedder.fingerprint,
        profile=profile.digest,
        timings=Timings(
            decode_ms=found.timings.decode_ms,
            queue_ms=found.timings.queue_ms,
            engine_ms=found.timings.engine_ms,
        ),
    )


def similarity(frame: Vector, goal: Vector, baseline: Vector | None, alpha: float) -> float:
    """In [-1, 1].

    Args:
        frame: (width,), of length 1.
        goal: (width,), of length 1.
        baseline: (width,), of length 1; None for the cosine.
        alpha: strength of the baseline, in [0, 1].

    Raises:
        DomainError: INVALID_ARGUMENT of ``task`` when goal and baseline are one.
    """
    if baseline is None:
        return float(np.clip(frame @ goal, -1.0, 1.0))
    line = (goal - baseline).astype(np.float64)
    length = float(line @ line)
    if length < _SAME:
        raise invalid(
            "task", "the task says no more than the profile's baseline: describe the goal."
        )
    away = (frame - goal).astype(np.float64)
    regularised = alpha * (away @ line) / length * line + (1.0 - alpha) * away
    return float(np.clip(1.0 - regularised @ regularised / 2.0, -1.0, 1.0))
