"""How much answers change when the camera, the light or something before it does."""

from __future__ import annotations

from lrm_server.audit.checks.changes import ChangeCheck
from lrm_server.audit.evidence import Evidence
from lrm_server.audit.findings import Finding
from lrm_server.audit.thresholds import Thresholds

NAME = "sensitivity"
QUESTION = "Do answers survive a bumped camera, other light, blur and a patch before the lens?"
EDITS = ChangeCheck(
    NAME,
    QUESTION,
    progress="sensitivity.progress",
    flips="sensitivity.flips",
    kind="edit",
    table="Each edit against the frames as they are",
    advice="Keep the scene as it is here, or train the model on such changes.",
)


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """The worst edit by change of progress and by flipped answers."""
    return EDITS.run(evidence.edits, thresholds)
