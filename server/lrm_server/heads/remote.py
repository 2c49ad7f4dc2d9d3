"""Which heads a model behind a chat endpoint can answer, and how they are read there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lrm_server.errors import invalid
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.profile import CompositeProfile, LabelProfile, Readout, SequenceProfile
from lrm_server.heads.subtask_profile import SubtaskProfile


def for_endpoint(heads: Iterable[ServedHead], *, reads_labels: bool) -> list[ServedHead]:
    """The heads as an endpoint serves them.

    Args:
        heads: of a manifest.
        reads_labels: whether the endpoint gives probabilities; where it gives none,
            every head's default readout becomes ``generate``.

    Raises:
        DomainError: INVALID_ARGUMENT of ``heads`` for one that cannot be asked in a chat.
    """
    return [_served(head, reads_labels) for head in heads]


def _served(head: ServedHead, reads_labels: bool) -> ServedHead:
    profile = head.profile
    if not isinstance(profile, LabelProfile | SequenceProfile | CompositeProfile | SubtaskProfile):
        raise invalid(
            "heads",
            f"head {head.name} is read from a model's own heads, which no chat endpoint gives: "
            "leave it out, or serve its checkpoint in this process.",
        )
    if isinstance(profile, LabelProfile):
        if profile.slot == "user":
            raise invalid(
                "heads",
                f"head {head.name} is read in the user's turn, which a chat endpoint closes: leave "
                "it out, or serve a checkpoint in this process.",
            )
        if not reads_labels and Readout.GENERATE not in profile.readouts:
            raise invalid(
                "heads",
                f"head {head.name} is read by probabilities, which this endpoint does not give: "
                "leave it out.",
            )
    return head if reads_labels else replace(head, readout=Readout.GENERATE)
