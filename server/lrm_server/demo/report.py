"""What the traces say, as figures and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.table import Table

from lrm_server.demo.scoring import HeadTrace, Trace

SHARES: Final = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Where along a rollout the table shows its progress."""


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b of two series of equal length, in [-1, 1]; NaN where one is constant."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    upper = np.triu_indices(len(one), 1)
    a = np.sign(np.subtract.outer(one, one))[upper]
    b = np.sign(np.subtract.outer(other, other))[upper]
    ties = np.sqrt((a != 0).sum() * (b != 0).sum())
    return float((a * b).sum() / ties) if ties else float("nan")


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """Means over the rollouts of one outcome.

    Attributes:
        count: rollouts.
        final: progress at the last step.
        peak: highest progress.
        tau: Kendall's tau of progress with time, over the queried steps.
        done: probability of completion at the last step.
        error: |progress - true progress| over the queried steps.
    """

    count: int
    final: float
    peak: float
    tau: float
    done: float
    error: float


def group_figures(traces: Sequence[Trace]) -> GroupFigures:
    """The figures of some traces; NaN where nothing can be said."""

    def mean(numbers: list[float]) -> float:
        known = [number for number in numbers if not np.isnan(number)]
        return float(np.mean(known)) if known else float("nan")

    progress = [trace.heads["progress"] for trace in traces]
    return GroupFigures(
        len(traces),
        mean([float(head.values[-1]) for head in progress]),
        mean([float(np.nanmax(head.values, initial=-np.inf)) for head in progress]),
        mean([kendall_tau(*_asked(head)) for head in progress]),
        mean([_done(trace) for trace in traces]),
        mean([_error(trace) for trace in traces]),
    )


def ordered_pairs(traces: Sequence[Trace]) -> tuple[int, int]:
    """Of all pairs of a success and a failure: in how many the success ends with more progress."""
    ends = [(t.rollout.success, float(t.heads["progress"].values[-1])) for t in traces]
    successes = [end for success, end in ends if success]
    failures = [end for success, end in ends if not success]
    right = sum(high > low for high in successes for low in failures)
    return right, len(successes) * len(failures)


def rewards_table(traces: Sequence[Trace]) -> Table:
    """One row a rollout: progress along it with the truth below, then the other heads' ends."""
    table = Table(title="Rewards along the bundled rollouts", title_justify="left", show_lines=True)
    table.add_column("task", max_width=30)
    table.add_column("outcome", max_width=10)
    table.add_column("progress at " + " ".join(f"{share:4.0%}" for share in SHARES), no_wrap=True)
    table.add_column("done at end")
    table.add_column("closer than before", justify="right")
    table.add_column("tri at end", justify="right")
    for trace in traces:
        rollout = trace.rollout
        steps = [max(1, round(share * rollout.length)) for share in SHARES]
        said = [float(trace.heads["progress"].values[step - 1]) for step in steps]
        true = np.interp(steps, rollout.steps, rollout.progress)
        table.add_row(
            rollout.task,
            f"[green]{rollout.outcome}" if rollout.success else f"[red]{rollout.outcome}",
            f"     model  {_row(said)}\n[dim]      true  {_row(true)}[/dim]",
            _completion(trace.heads["completion"]),
            _closer(trace.heads["contrastive"]),
            f"{trace.heads['tri'].values[-1]:.2f}",
        )
    return table


def summary_table(traces: Sequence[Trace]) -> Table:
    """Successes against failures."""
    groups = [
        group_figures([t for t in traces if t.rollout.success is success])
        for success in (True, False)
    ]
    table = Table(title="Successes against failures", title_justify="left")
    table.add_column("mean over rollouts")
    for name, group in zip(("successes", "failures"), groups, strict=True):
        table.add_column(f"{name} ({group.count})", justify="right")
    for label, field in (
        ("progress at the end", "final"),
        ("highest progress", "peak"),
        ("rank correlation of progress with time (Kendall's tau)", "tau"),
        ("probability that the task is done, at the end", "done"),
        ("mean absolute error of progress", "error"),
    ):
        table.add_row(label, *(f"{getattr(group, field):.2f}" for group in groups))
    return table


def _row(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:4.2f}" for number in numbers)


def _completion(head: HeadTrace) -> str:
    if head.last is None:
        return "-"
    return f"{head.last.label} (p = {head.last.probabilities['yes']:.2f})"


def _closer(head: HeadTrace) -> str:
    """At how many of the queried steps the frame was found closer to the goal than before."""
    return f"{int((head.values[head.queried] > 0).sum())} of {int(head.queried.sum())}"


def _asked(head: HeadTrace) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The queried values and their steps."""
    return head.values[head.queried], np.flatnonzero(head.queried).astype(np.int64) + 1


def _done(trace: Trace) -> float:
    reply = trace.heads["completion"].last
    return float("nan") if reply is None else reply.probabilities["yes"]


def _error(trace: Trace) -> float:
    values, steps = _asked(trace.heads["progress"])
    true = np.interp(steps, trace.rollout.steps, trace.rollout.progress)
    return float(np.abs(values - true).mean()) if len(true) else float("nan")
