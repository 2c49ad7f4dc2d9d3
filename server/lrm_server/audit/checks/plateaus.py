"""Progress that stops rising although the truth rises."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import IsotonicRegression

from lrm_server.audit.checks.common import enough, need_head
from lrm_server.audit.evidence import Evidence, Floats, Trace
from lrm_server.audit.findings import Finding, Verdict, estimate, measure, worst
from lrm_server.audit.thresholds import Thresholds

NAME = "plateaus"
QUESTION = "Does progress stop rising where the truth goes on?"


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """The longest flat stretch on the way up, and where progress saturates."""
    need_head(evidence, "progress")
    rise = thresholds["flat_rise"]
    found = [
        plateau(*rising, rise)
        for trace in evidence.traces
        if (rising := _rising(trace, thresholds["least_rise"])) is not None
    ]
    what = "episodes with progress labels that rise"
    enough(found, what, evidence, thresholds, "progress")
    flat = estimate("plateau.flat", found, lambda some: float(np.median([f for f, _ in some])))
    ceiling = estimate(
        "plateau.saturation", found, lambda some: float(np.median([s for _, s in some]))
    )
    measures = (
        measure(
            thresholds,
            "plateau.flat",
            f"longest stretch in which progress rises by {rise} at most, median",
            flat,
            unit="of the true way",
        ),
        measure(
            thresholds,
            "plateau.saturation",
            "true progress from which it stays at its ceiling, median",
            ceiling,
        ),
    )
    verdict = worst([m.verdict for m in measures])
    sentence = (
        f"Over {len(found)} episodes progress stands still for {flat.value:.2f} of the true way at "
        f"most (median), and reaches its ceiling at a true progress of {ceiling.value:.2f}."
    )
    advice = "" if verdict is Verdict.PASS else "Beyond the plateau nothing is rewarded."
    return Finding(NAME, QUESTION, verdict, sentence, advice, measures)


def plateau(truth: Floats, progress: Floats, rise: float) -> tuple[float, float]:
    """The longest flat stretch, as a share of the true way, and the true progress at saturation.

    Progress is read as its best monotone fit over true progress, so that a single high or low
    frame neither makes nor breaks a plateau.

    Args:
        truth: float64 (F,), two different values at least.
        progress: float64 (F,), as answered.
        rise: a stretch is flat while the fit rises by no more.
    """
    order = np.argsort(truth, kind="stable")
    way = truth[order]
    fit = IsotonicRegression().fit_transform(way, progress[order])
    tolerance = rise + 1e-9
    longest = max(
        float(way[end] - way[start])
        for start in range(len(way))
        for end in range(start, len(way))
        if fit[end] - fit[start] <= tolerance
    )
    ceiling = float(way[int(np.argmax(fit >= fit[-1] - tolerance))])
    return longest / float(way[-1] - way[0]), ceiling


def _rising(trace: Trace, least: float) -> tuple[Floats, Floats] | None:
    """Truth and answers up to the highest true progress, where it rises by enough."""
    if trace.truth is None or trace.assumed:
        return None
    there = np.isfinite(trace.progress)
    truth, progress = trace.truth[there], trace.progress[there]
    if not len(truth):
        return None
    top = int(np.argmax(truth)) + 1
    truth, progress = truth[:top], progress[:top]
    return (truth, progress) if np.ptp(truth) >= least else None
