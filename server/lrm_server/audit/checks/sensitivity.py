"""How much answers change when the camera, the light or something before it does."""

from __future__ import annotations

from lrm_server.audit.checks.common import CHANGE_COLUMNS, change_rows, collect, worst_change
from lrm_server.audit.evidence import Evidence
from lrm_server.audit.findings import Details, Finding, Measure, Verdict, measure
from lrm_server.audit.thresholds import Thresholds

NAME = "sensitivity"
QUESTION = "Do answers survive a bumped camera, other light, blur and a patch before the lens?"


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """The worst edit by change of progress and by flipped answers."""
    named: list[str] = []

    def progress() -> Measure:
        name, figure = worst_change(
            "sensitivity.progress", evidence.edits, ["progress"], lambda c: c.change, flags=False
        )
        named.append(f"{name} moves progress by {figure.value:.2f} in the mean")
        meaning = f"mean change of progress under the worst edit ({name})"
        return measure(thresholds, "sensitivity.progress", meaning, figure)

    def flips() -> Measure:
        name, figure = worst_change(
            "sensitivity.flips",
            evidence.edits,
            ["completion", "contrastive"],
            lambda c: float(c.flipped),
            flags=True,
        )
        named.append(f"{name} turns {figure.value:.0%} of the completion and contrastive answers")
        meaning = f"completion and contrastive answers turned by the worst edit ({name})"
        return measure(thresholds, "sensitivity.flips", meaning, figure)

    measures, verdict, missing = collect(progress, flips)
    sentence = f"Worst edits: {'; '.join(named)}."
    advice = (
        ""
        if verdict is Verdict.PASS
        else "Keep the scene as it is here, or train the model on such changes."
    )
    table = Details(
        "Each edit against the frames as they are", CHANGE_COLUMNS, change_rows(evidence.edits)
    )
    return Finding(NAME, QUESTION, verdict, sentence + missing, advice, measures, (table,))
