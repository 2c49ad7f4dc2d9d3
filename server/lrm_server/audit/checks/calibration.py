"""Whether completion's probability means what it says."""

from __future__ import annotations

import numpy as np

from lrm_server.audit.checks.common import enough, need_head
from lrm_server.audit.evidence import Evidence
from lrm_server.audit.findings import Details, Finding, NotComputableError, Verdict, measure
from lrm_server.audit.thresholds import Thresholds
from lrm_server.evaluation.metrics.bootstrap import with_interval
from lrm_server.evaluation.metrics.calibration import Bin, brier, ece, reliability_curve

NAME = "calibration"
QUESTION = "Is a frame that completion calls done with 80 % done in 80 of 100 cases?"


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Expected calibration error of completion over all asked frames.

    Raises:
        NotComputableError: an answer has no probability, or too few episodes are labelled.
    """
    need_head(evidence, "completion")
    labelled = [
        (trace.completion[there], trace.done[there])
        for trace in evidence.traces
        if trace.done is not None and (there := np.isfinite(trace.completion)).any()
    ]
    if not all(trace.graded for trace in evidence.traces):
        raise NotComputableError(
            "completion's answers have no probabilities: read it by likelihood"
        )
    what = "episodes that say at which frames they are done"
    enough(labelled, what, evidence, thresholds, "success")
    confidence, outcome = [c for c, _ in labelled], [d for _, d in labelled]
    figure = with_interval(ece(confidence, outcome))
    meaning = "expected calibration error, ten bins"
    found = measure(thresholds, "calibration.ece", meaning, figure, episodes=len(labelled))
    bins = reliability_curve(confidence, outcome)
    worst_bin = max((b for b in bins if b.count), key=_weight)
    sentence = (
        f"Completion's probability is off by {figure.value:.2f} in the mean; most where it says "
        f"{worst_bin.confidence:.2f} and {worst_bin.observed:.2f} of the frames are done. "
        f"(Brier score {brier(confidence, outcome).value:.3f}.)"
    )
    advice = (
        ""
        if found.verdict is Verdict.PASS
        else "Choose the threshold from the reliability curve, or calibrate before using "
        "probabilities as rewards."
    )
    columns = ("from", "to", "mean probability", "share done", "frames")
    rows = tuple((b.low, b.high, b.confidence, b.observed, b.count) for b in bins)
    return Finding(
        NAME,
        QUESTION,
        found.verdict,
        sentence,
        advice,
        (found,),
        (Details("Reliability", columns, rows),),
    )


def _weight(one: Bin) -> float:
    """How much a bin adds to the error."""
    return one.count * abs((one.confidence or 0.0) - (one.observed or 0.0))
