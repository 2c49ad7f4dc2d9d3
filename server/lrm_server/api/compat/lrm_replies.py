"""What LRM's clients read: a score, and the text that the model wrote or would have written."""

from __future__ import annotations

import json
from typing import Any

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.profile import Label, LabelProfile, Readout
from lrm_server.heads.query import Reply


def scored(catalogue: HeadCatalogue, reply: Reply) -> dict[str, Any]:
    """``score`` and ``response``, as every path answers."""
    return {"score": reply.value, "response": response_text(catalogue, reply)}


def completed(catalogue: HeadCatalogue, reply: Reply) -> dict[str, Any]:
    """``compute_completion``: also whether the task is done."""
    return {**scored(catalogue, reply), "completed": reply.value >= 0.5}


def compared(catalogue: HeadCatalogue, reply: Reply) -> dict[str, Any]:
    """``compute_comparison``: also which image is closer, as the model names it, or null."""
    label = _labels(catalogue, reply).get(reply.label)
    return {**scored(catalogue, reply), "result": label.written if label is not None else None}


def graded(catalogue: HeadCatalogue, reply: Reply) -> dict[str, Any]:
    """``compute_roboreward``: also the grade from 1 to 5.

    Raises:
        DomainError: INTERNAL when the head's labels are no grades.
    """
    if not reply.label.isdecimal():
        raise _other_head(reply, "its labels are no grades")
    return {**scored(catalogue, reply), "raw_score": int(reply.label)}


def believed(catalogue: HeadCatalogue, reply: Reply) -> dict[str, Any]:
    """``compute_topreward``: the log-probability of the one token that is read.

    Raises:
        DomainError: INTERNAL when the head gives no log-probability.
    """
    if reply.log_probability is None:
        raise _other_head(reply, "it gives no log-probability")
    return {
        "score": reply.value,
        "log_prob": reply.log_probability,
        "token_count": 1,
        "response": f"logP({reply.label or 'True'})={reply.log_probability:.4f}",
    }


def traced(reply: Reply) -> dict[str, Any]:
    """``compute_robometer``: the last frame's progress, and that of every frame shown.

    Raises:
        DomainError: INTERNAL when the head gives no progress for each frame.
    """
    frames = [value for value in reply.series.get("progress", ()) if value is not None]
    if not frames:
        raise _other_head(reply, "it gives no progress for each frame")
    return {
        "score": frames[-1],
        "raw_score": frames[-1],
        "response": json.dumps(
            {
                "progress_per_frame": [round(value, 4) for value in frames],
                "final_progress": round(frames[-1], 4),
                "mode": "robometer_head",
            }
        ),
        "progress_per_frame": frames,
    }


def response_text(catalogue: HeadCatalogue, reply: Reply) -> str:
    """What the model wrote; where its answer was read and not written, what it would have been.

    A reading knows the probability of each answer as the profile writes it, so the
    text is the profile's with the most probable one.
    """
    profile = catalogue[reply.head].profile
    if reply.readout is Readout.GENERATE or not isinstance(profile, LabelProfile):
        return reply.text or ""
    best = reply.label
    if best not in profile.values and reply.probabilities:
        # Undecided within the margin: one of the two was still the more probable.
        best = max(reply.probabilities, key=reply.probabilities.__getitem__)
    label = _labels(catalogue, reply).get(best)
    if label is None:
        return reply.text or ""
    answer = f"{profile.answer_prefix}{label.written}{profile.terminator}"
    return f"{reply.text}\n{answer}" if reply.text else answer


def _labels(catalogue: HeadCatalogue, reply: Reply) -> dict[str, Label]:
    profile = catalogue[reply.head].profile
    return (
        {label.label: label for label in profile.labels}
        if isinstance(profile, LabelProfile)
        else {}
    )


def _other_head(reply: Reply, why: str) -> DomainError:
    return DomainError(
        ErrorCode.INTERNAL,
        f"the head {reply.head} of this server is not the one that this path means: {why}.",
    )
