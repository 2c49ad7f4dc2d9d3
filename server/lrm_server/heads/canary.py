"""The proof before readiness: every head answers, and the canary answers as it did."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.manifest import Canary, CanaryQuery
from lrm_server.heads.profile import AskingProfile, Role
from lrm_server.heads.query import Query, placeholder_window
from lrm_server.heads.scorer import Scorer

logger = logging.getLogger(__name__)

_WARM_UP_SIDE = 128
_ENCODINGS = {".jpg": Encoding.JPEG, ".jpeg": Encoding.JPEG, ".png": Encoding.PNG}


async def warm_up(scorer: Scorer) -> None:
    """Asks every head once about a grey frame, so that nobody's first query compiles.

    A model may rightly find no answer in a grey frame; that is logged. Any other
    failure is raised.
    """
    grey = np.full((_WARM_UP_SIDE, _WARM_UP_SIDE, 3), 128, dtype=np.uint8).tobytes()
    frame = open_frame(grey, Encoding.RAW, FrameLimits(), height=_WARM_UP_SIDE, width=_WARM_UP_SIDE)
    for head in scorer.catalogue.values():
        if not isinstance(head.profile, AskingProfile):
            continue
        window = placeholder_window(head.window, frame)
        compares = isinstance(head.profile, FrameProfile) and head.profile.needs_other
        try:
            await scorer.score(
                Query(
                    head=head.name,
                    task="Warm up.",
                    frames=dict.fromkeys(head.required_frames, frame),
                    window=window,
                    other_window=window if compares else (),
                    fps=1.0,
                )
            )
        except DomainError as error:
            if error.code not in (
                ErrorCode.LABEL_MASS_LOW,
                ErrorCode.ANSWER_NOT_REACHED,
                ErrorCode.ANSWER_UNPARSABLE,
            ):
                raise
            logger.warning("warm-up of head %s: %s", head.name, error.message)


async def check_canary(scorer: Scorer, canary: Canary, folder: Path) -> None:
    """Asks the canary's queries and compares.

    Args:
        scorer: who answers.
        canary: queries and the probabilities that the checkpoint gave; those of heads that
            are not served are left out.
        folder: to which the frames' files are relative.

    Raises:
        DomainError: INTERNAL when a probability is off by more than the
            tolerance: another model answers than the one that the manifest means.
    """
    for known in canary.queries:
        if known.head not in scorer.catalogue:
            continue
        reply = await scorer.score(_query(known, folder))
        off, label = _largest_difference(reply.probabilities, known.probabilities)
        if off > canary.tolerance:
            raise DomainError(
                ErrorCode.INTERNAL,
                f"the canary failed: head {known.head} gave {label} a probability of "
                f"{reply.probabilities.get(label, 0.0):.3f} and the manifest says "
                f"{known.probabilities.get(label, 0.0):.3f} (tolerance {canary.tolerance:g}). The "
                "weights, an adapter or the preparation of frames are not those that the manifest "
                "was made for.",
                field="model",
            )


def _largest_difference(
    found: Mapping[str, float], wanted: Mapping[str, float]
) -> tuple[float, str]:
    return max(
        (abs(found.get(label, 0.0) - wanted.get(label, 0.0)), label) for label in {*found, *wanted}
    )


def _query(known: CanaryQuery, folder: Path) -> Query:
    frames: dict[Role, Frame] = {}
    for role, name in known.frames.items():
        path = folder / name
        encoding = _ENCODINGS.get(path.suffix.lower())
        if encoding is None or not path.is_file():
            raise invalid("manifest", f"the canary's frame {path} is no JPEG or PNG file.")
        frames[role] = open_frame(path.read_bytes(), encoding, FrameLimits())
    return Query(head=known.head, task=known.task, frames=frames)
