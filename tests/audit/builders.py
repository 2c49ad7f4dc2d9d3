"""Episodes, traces and answers made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrm_server.audit.evidence import Comparison, Evidence, Failures, Pair, Trace
from lrm_server.audit.findings import Finding, Verdict
from lrm_server.audit.thresholds import Thresholds, default_thresholds
from lrm_server.evaluation.asking import Answer
from lrm_server.recordings.episode import RecordedEpisode

SHIPPED: Thresholds = default_thresholds()
HEADS = ("contrastive", "progress", "completion")
LINEAR = tuple(np.linspace(0.0, 1.0, 11).round(2).tolist())


def picture(level: int) -> np.ndarray[Any, Any]:
    return np.full((16, 16, 3), level, np.uint8)


def episode(
    name: str = "one",
    progress: Sequence[float] | None = LINEAR,
    *,
    task: str = "lift the cube",
    success: bool | None = True,
    done: Sequence[bool] | None = None,
    frames: int | None = None,
    every: int = 10,
) -> RecordedEpisode:
    """Frames every ten steps; each is grey, brighter with its place."""
    count = frames if frames is not None else len(progress or ())
    steps = np.arange(count) * every
    return RecordedEpisode(
        id=name,
        task=task,
        frames=[picture(place) for place in range(count)],
        steps=steps,
        length=int(steps[-1]),
        success=success,
        done=None if done is None else np.asarray(done, np.bool_),
        progress=None if progress is None else np.asarray(progress, np.float64),
    )


def trace(
    name: str,
    *,
    truth: Sequence[float] | None = None,
    progress: Sequence[float] | None = None,
    completion: Sequence[float] | None = None,
    success: bool | None = True,
    done_at: int | None = None,
    count: int = 10,
) -> Trace:
    """Frames at steps 10, 20, ... of an episode that ends with the last of them."""
    given = truth or progress or completion
    count = len(given) if given is not None else count
    empty = [float("nan")] * count
    steps = np.arange(1, count + 1) * 10
    done = None if success is None else np.zeros(count, np.bool_)
    if done is not None and done_at is not None:
        done[done_at:] = True
    column = np.asarray(progress or empty, np.float64)
    return Trace(
        episode=name,
        task="lift the cube",
        length=int(steps[-1]),
        success=success,
        done_step=None if done_at is None else int(steps[done_at]),
        steps=steps,
        truth=None if truth is None else np.asarray(truth, np.float64),
        done=done,
        progress=column,
        stage=np.round(column, 1),
        completion=np.asarray(completion or empty, np.float64),
    )


def evidence(*traces: Trace, heads: Sequence[str] = HEADS, **fields: Any) -> Evidence:
    fields.setdefault("failures", Failures(100))
    return Evidence(heads=tuple(heads), traces=traces, **fields)


def said(value: float, expected: float | None = None, label: str = "", **fields: Any) -> Answer:
    return Answer(value=value, expected=expected, label=label or str(value), **fields)


def chosen(current: float) -> Answer:
    """Contrastive's answer with this probability for the current frame."""
    better = current > 0.5
    return Answer(
        value=1.0 if better else -1.0,
        expected=2 * current - 1,
        label="current" if better else "previous",
        probabilities={"previous": 1 - current, "current": current},
    )


def pair(name: str, forward: float, backward: float, rise: float | None = 0.3) -> Pair:
    return Pair(name, rise, chosen(forward), chosen(backward))


def changed(name: str, head: str, before: float, after: float) -> Comparison:
    """Labels turn at one half."""
    plain, other = (said(round(v), v, "yes" if v >= 0.5 else "no") for v in (before, after))
    return Comparison(name, head, plain, other)


def verdicts(finding: Finding) -> dict[str, Verdict]:
    return {measure.name: measure.verdict for measure in finding.measures}


def value(finding: Finding, name: str) -> float:
    (found,) = (m.figure.value for m in finding.measures if m.name == name)
    assert found is not None
    return found
