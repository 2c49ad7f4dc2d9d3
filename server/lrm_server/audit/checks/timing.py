"""When completion is called, relative to the true success."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from lrm_server.audit.checks.common import (
    Collected,
    called_at,
    collect,
    enough,
    failures,
    mean_of,
    need_head,
    share_of,
    successes,
)
from lrm_server.audit.evidence import Evidence, Floats, Trace
from lrm_server.audit.findings import (
    AbsentError,
    Details,
    Finding,
    Measure,
    NotComputableError,
    Verdict,
    estimate,
    measure,
)
from lrm_server.audit.thresholds import Thresholds

NAME = "timing"
QUESTION = "When is a success called done, relative to when it truly is?"
FINISHED_STAGE = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """When one success was called.

    Attributes:
        steps: signed, the call's step minus the true one, negative for early; for a success that
            was not called, how many steps were recorded after it, which its lag is at least.
        share: the same as a share of the episode.
        called: whether it was called.
        never: not called although the recording went on for long enough, or without any sign.
    """

    steps: int
    share: float
    called: bool = True
    never: bool = False

    @property
    def undetermined(self) -> bool:
        """Not called, in a recording that ends too soon to say never."""
        return not self.called and not self.never


def check(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Early, late, never, taken back, and calls in failures: of completion, else progress at 1."""
    need_head(evidence, "completion", "progress")
    caller = "completion" if "completion" in evidence.heads else "progress at 1.0"
    calls = calls_of(evidence, thresholds, caller)
    undetermined = sum(call.undetermined for call in calls)
    if undetermined > len(calls) / 2:
        tail = float(np.median([call.share for call in calls if call.undetermined]))
        raise NotComputableError(
            f"{undetermined} of {len(calls)} successes are not called by the end of their "
            f"recording, which comes {tail:.2f} of the episode after the success: record longer"
        )
    measures, verdict, missing = _measures(evidence, thresholds, caller, calls)
    sentence, advice = _words(calls, measures, caller, thresholds["timing_tolerance"])
    sentence += _resolution(successes(evidence)) + missing
    tables = [_table(caller, calls, thresholds["timing_tolerance"])]
    if caller == "completion" and "progress" in evidence.heads:
        # Beside the verdict: progress may lack answers where completion has them.
        with suppress(NotComputableError):
            by_progress = calls_of(evidence, thresholds, "progress at 1.0")
            tables.append(_table("progress at 1.0", by_progress, thresholds["timing_tolerance"]))
    return Finding(
        NAME,
        QUESTION,
        verdict,
        sentence,
        advice,
        measures,
        tuple(tables),
    )


def calls_of(evidence: Evidence, thresholds: Thresholds, caller: str) -> list[Call]:
    """The call of each success.

    Raises:
        NotComputableError: too few successes.
    """
    traces = [t for t in successes(evidence) if np.isfinite(_scores(t, caller)).any()]
    enough(traces, "labelled successes with answers", evidence, thresholds, "success")
    responds = _auc(evidence, caller) >= thresholds["responsive_auc"]
    return [_call(trace, thresholds, caller, responds=responds) for trace in traces]


def _scores(trace: Trace, caller: str) -> Floats:
    return trace.completion if caller == "completion" else trace.stage


def _threshold(thresholds: Thresholds, caller: str) -> float:
    return thresholds["called_score"] if caller == "completion" else FINISHED_STAGE


def _place(trace: Trace, thresholds: Thresholds, caller: str) -> int | None:
    """The step of the call."""
    scores = _scores(trace, caller)
    there = np.isfinite(scores)
    threshold = _threshold(thresholds, caller)
    place = called_at(scores[there], threshold, int(thresholds["called_frames"]))
    return None if place is None else int(trace.steps[there][place])


def _call(trace: Trace, thresholds: Thresholds, caller: str, *, responds: bool) -> Call:
    assert trace.done_step is not None  # noqa: S101
    step = _place(trace, thresholds, caller)
    if step is not None:
        offset = step - trace.done_step
        return Call(offset, trace.share(offset))
    tail = int(trace.steps[-1]) - trace.done_step
    never = not responds or trace.share(tail) >= thresholds["patience"]
    return Call(tail, trace.share(tail), called=False, never=never)


def _auc(evidence: Evidence, caller: str) -> float:
    """How well scores rank finished frames above others; one half where it is undefined."""
    done: list[bool] = []
    scores: list[float] = []
    for trace in evidence.traces:
        if trace.done is not None:
            there = np.isfinite(_scores(trace, caller))
            done += trace.done[there].tolist()
            scores += _scores(trace, caller)[there].tolist()
    return float(roc_auc_score(done, scores)) if len(set(done)) == 2 else 0.5


def _measures(
    evidence: Evidence, thresholds: Thresholds, caller: str, calls: Sequence[Call]
) -> Collected:
    tolerance = thresholds["timing_tolerance"]

    def share(name: str, meaning: str, flags: Sequence[bool]) -> Measure:
        return measure(thresholds, f"timing.{name}", meaning, share_of(name, flags))

    def lag() -> Measure:
        figure = estimate("lag", calls, lambda some: float(np.median([c.share for c in some])))
        meaning = "median of call minus success"
        return measure(thresholds, "timing.lag", meaning, figure, unit="of the episode")

    def kept() -> Measure:
        after = [
            flags
            for trace in successes(evidence)
            if len(flags := _after_call(trace, thresholds, caller))
        ]
        if len(after) < thresholds["least_episodes"]:
            raise AbsentError(
                f"{len(after)} recordings go on after the call, so whether it is kept is not known"
            )
        meaning = "finished frames after the call that are still called done"
        return measure(thresholds, "timing.kept", meaning, mean_of("kept", after))

    def in_failures() -> Measure:
        flags = [
            _place(trace, thresholds, caller) is not None
            for trace in failures(evidence)
            if trace.done_step is None and np.isfinite(_scores(trace, caller)).any()
        ]
        what = "labelled failures with answers that were never done"
        enough(flags, what, evidence, thresholds, "success")
        meaning = "failures, never done, that are called done at some frame"
        return share("called_in_failures", meaning, flags)

    early = [call.called and call.share < -tolerance for call in calls]
    return collect(
        lambda: share("early", f"successes called over {tolerance:.2f} too early", early),
        lag,
        lambda: share("never", "successes never called", [call.never for call in calls]),
        kept,
        in_failures,
    )


def _after_call(trace: Trace, thresholds: Thresholds, caller: str) -> list[float]:
    """1 for each finished frame that is still called done, 0 for each that is not.

    From the frames on that the call itself was made of; empty where there are none.
    """
    step = _place(trace, thresholds, caller)
    if step is None or trace.done is None:
        return []
    scores = _scores(trace, caller)
    there = np.isfinite(scores)
    since = np.flatnonzero(there & (trace.steps >= step))[int(thresholds["called_frames"]) :]
    finished = since[trace.done[since]]
    return [float(score >= _threshold(thresholds, caller)) for score in scores[finished]]


def _words(
    calls: Sequence[Call], measures: Sequence[Measure], caller: str, tolerance: float
) -> tuple[str, str]:
    verdicts = {m.name: m.verdict for m in measures}
    figures = {m.name: m.figure.value or 0.0 for m in measures}
    groups = grouped(calls, tolerance)
    parts = [f"{len(groups['on time'])} of {len(calls)} successes are called on time"]
    for name in ("early", "late"):
        if some := groups[name]:
            steps = float(np.median([abs(c.steps) for c in some]))
            share = float(np.median([abs(c.share) for c in some]))
            parts.append(
                f"{len(some)} {name} (by {share:.2f} of the episode, {steps:.0f} steps, in the "
                "median)"
            )
    if groups["never"]:
        parts.append(f"{len(groups['never'])} never")
    if groups["undetermined"]:
        parts.append(f"{len(groups['undetermined'])} not before the recording ends")
    sentence = f"By {caller}, {', '.join(parts)}."
    if "timing.called_in_failures" in figures:
        share = figures["timing.called_in_failures"]
        sentence += f" {share:.0%} of the failures are called done at some frame."
    advice: list[str] = []
    if verdicts["timing.early"] is not Verdict.PASS:
        advice.append("Do not end episodes on its call, and do not pay for it: it comes early.")
    if verdicts["timing.lag"] is not Verdict.PASS:
        at_least = "at least " if any(c.undetermined for c in calls) else ""
        steps = float(np.median([c.steps for c in calls]))
        sentence += (
            f" Success is called {at_least}{figures['timing.lag']:.2f} of the episode "
            f"({steps:.0f} steps) late in the median."
        )
        if Verdict.FAIL not in (verdicts["timing.early"], verdicts["timing.never"]):
            advice.append("It is late, not wrong: train with a longer horizon.")
    if verdicts["timing.never"] is not Verdict.PASS:
        advice.append("Look at the successes that it misses before rewarding by completion.")
    if verdicts.get("timing.kept", Verdict.PASS) is not Verdict.PASS:
        sentence += f" Of finished frames after it {figures['timing.kept']:.0%} stay called done."
        advice.append("Do not hold its call for a state: it is taken back.")
    if verdicts.get("timing.called_in_failures", Verdict.PASS) is not Verdict.PASS:
        advice.append("Demand its call for several steps, or agreement with progress.")
    return sentence, " ".join(advice)


def _resolution(traces: Sequence[Trace]) -> str:
    """How finely the moment of success was asked about, in words."""
    gaps = [
        trace.share(int(np.diff(trace.steps)[place - 1]))
        for trace in traces
        if trace.done is not None and (place := int(np.argmax(trace.done))) > 0
    ]
    if not gaps:
        return ""
    return f" Frames lie {float(np.median(gaps)):.2f} of the episode apart around the success."


def grouped(calls: Sequence[Call], tolerance: float) -> dict[str, list[Call]]:
    """Calls as early, on time, late, never and undetermined."""
    called = [call for call in calls if call.called]
    return {
        "early": [c for c in called if c.share < -tolerance],
        "on time": [c for c in called if abs(c.share) <= tolerance],
        "late": [c for c in called if c.share > tolerance],
        "never": [c for c in calls if c.never],
        "undetermined": [c for c in calls if c.undetermined],
    }


def _table(caller: str, calls: Sequence[Call], tolerance: float) -> Details:
    rows: list[tuple[str | float | int | None, ...]] = []
    for name, some in grouped(calls, tolerance).items():
        called = [c for c in some if c.called]
        steps = float(np.median([c.steps for c in called])) if called else None
        share = float(np.median([c.share for c in called])) if called else None
        rows.append((name, len(some), steps, share))
    columns = ("called", "successes", "median steps", "median share of the episode")
    return Details(f"By {caller}: call minus success", columns, tuple(rows))
