"""How far an attempt has come, from the simulator's state.

Stages, and the share of an expert's time that each takes.

A state is in one stage of its task and some fraction through it. What a stage is worth is learnt
from the experts: the steps that a stage takes them, as a line in the distance that it covers, and
how their time runs within it. So a state of a failed attempt gets the progress that an expert has
on average in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.rollouts.keyframes import first_success
from training.rollouts.stages import stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.rollouts.features import Track

    Floats = NDArray[np.float64]

# Knots of the curve of time within a stage.
KNOTS: Final = np.linspace(0.0, 1.0, 11)
# What is not finished has at most this progress, however near it is.
UNFINISHED: Final = 0.97


@dataclass(frozen=True)
class Calibration:
    """What the experts of a task taught.

    Attributes:
        base: float64 (S,), steps of a stage without its way.
        slope: float64 (S,), steps per metre of way.
        curves: float64 (S, len(KNOTS)), share of a stage's time passed, at fractions KNOTS.
    """

    base: Floats
    slope: Floats
    curves: Floats

    def to_json(self) -> dict[str, Any]:
        """Plain lists for a JSON file."""
        return {
            "base": self.base.tolist(),
            "slope": self.slope.tolist(),
            "curves": self.curves.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Calibration:
        """The inverse of to_json."""
        return cls(np.array(data["base"]), np.array(data["slope"]), np.array(data["curves"]))


def calibrate(env_id: str, experts: Sequence[Track]) -> Calibration:
    """Learns the worth of a task's stages from experts that succeed."""
    durations, spans, times = [], [], []
    for track in experts:
        done = first_success(track.success)
        if done is None:
            continue
        marks = stages(env_id, track)
        count = len(marks.spans)
        # An expert passes through the stages in order; a flicker back is measurement, not regress.
        order = np.maximum.accumulate(marks.stage[: done + 1])
        length = np.bincount(order, minlength=count).astype(np.float64)
        begins = np.concatenate([[0.0], np.cumsum(length)[:-1]])
        durations.append(length)
        spans.append(marks.spans)
        share = (np.arange(done + 1) - begins[order]) / np.maximum(length[order], 1.0)
        times.append((order, marks.fraction[: done + 1], share))
    steps, ways = np.stack(durations), np.stack(spans)
    base, slope, curves = [], [], []
    for stage in range(steps.shape[1]):
        way = ways[:, stage]
        gradient = float(np.polyfit(way, steps[:, stage], 1)[0]) if way.std() > 1e-6 else 0.0
        gradient = max(gradient, 0.0)
        base.append(float(steps[:, stage].mean() - gradient * way.mean()))
        slope.append(gradient)
        fraction = np.concatenate([f[order == stage] for order, f, _ in times])
        share = np.concatenate([s[order == stage] for order, _, s in times])
        curves.append(_monotone(fraction, share))
    return Calibration(np.array(base), np.array(slope), np.array(curves))


def _monotone(fraction: Floats, share: Floats) -> Floats:
    """Mean share of time at the fractions KNOTS, never falling; float64 (len(KNOTS),)."""
    if not len(fraction):
        return KNOTS.copy()
    nearest = np.clip(np.rint(fraction * (len(KNOTS) - 1)).astype(int), 0, len(KNOTS) - 1)
    counts = np.bincount(nearest, minlength=len(KNOTS))
    means = np.bincount(nearest, weights=share, minlength=len(KNOTS)) / np.maximum(counts, 1)
    filled = np.interp(KNOTS, KNOTS[counts > 0], means[counts > 0])
    return np.maximum.accumulate(filled)


def potential(env_id: str, track: Track, calibration: Calibration) -> Floats:
    """Progress of every step, float64 (T,) in [0, 1]: 1 exactly where the task is done."""
    marks = stages(env_id, track)
    steps = np.maximum(calibration.base + calibration.slope * marks.spans, 1.0)
    begins = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    within = np.empty(len(marks.stage))
    for stage in range(len(steps)):
        here = marks.stage == stage
        within[here] = np.interp(marks.fraction[here], KNOTS, calibration.curves[stage])
    progress = np.minimum(
        (begins[marks.stage] + within * steps[marks.stage]) / steps.sum(), UNFINISHED
    )
    # A rollout starts at nothing, wherever its first state lies within the first stage.
    progress = np.clip((progress - progress[0]) / (1 - progress[0]), 0.0, UNFINISHED)
    return np.where(track.success, 1.0, progress)
