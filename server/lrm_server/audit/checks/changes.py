"""What changes when a question is asked again with something changed that should not matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrm_server.audit.checks.common import by_episode, collect, mean_of
from lrm_server.audit.evidence import Comparison
from lrm_server.audit.findings import (
    AbsentError,
    Details,
    Finding,
    Measure,
    NotComputableError,
    Verdict,
    measure,
)
from lrm_server.audit.thresholds import Thresholds
from lrm_server.evaluation.metrics.result import Metric

CHANGE_COLUMNS = (
    "change",
    "mean change of progress",
    "completion flipped",
    "contrastive flipped",
    "answers",
)


@dataclass(frozen=True, slots=True)
class ChangeCheck:
    """A check of one kind of change.

    Attributes:
        name: as findings carry it.
        question: what it answers.
        progress: the threshold on the mean change of progress.
        flips: the threshold on the share of other answers that are turned.
        kind: what is changed, in one word.
        table: title of the table of all changes.
        advice: for a verdict that is no pass.
        show: how a change is named in words.
    """

    name: str
    question: str
    progress: str
    flips: str
    kind: str
    table: str
    advice: str
    show: Callable[[str], str] = str

    def run(self, changes: Mapping[str, Sequence[Comparison]], thresholds: Thresholds) -> Finding:
        """The worst change by change of progress and by flipped answers.

        Raises:
            NotComputableError: neither can be computed.
        """
        named: list[str] = []

        def progress() -> Measure:
            name, figure = worst_change(
                self.progress, changes, ["progress"], lambda c: c.change, flags=False
            )
            named.append(f"{self.show(name)} moves progress by {figure.value:.2f} in the mean")
            meaning = f"mean change of progress under the worst {self.kind} ({name})"
            return measure(thresholds, self.progress, meaning, figure)

        def flips() -> Measure:
            heads = ["completion", "contrastive"]
            name, figure = worst_change(
                self.flips, changes, heads, lambda c: float(c.flipped), flags=True
            )
            turned = f"turns {figure.value:.0%} of the completion and contrastive answers"
            named.append(f"{self.show(name)} {turned}")
            meaning = f"completion and contrastive answers turned by the worst {self.kind} ({name})"
            return measure(thresholds, self.flips, meaning, figure)

        measures, verdict, missing = collect(progress, flips)
        return Finding(
            self.name,
            self.question,
            verdict,
            f"Worst {self.kind}s: {'; '.join(named)}.{missing}",
            "" if verdict is Verdict.PASS else self.advice,
            measures,
            (Details(self.table, CHANGE_COLUMNS, change_rows(changes)),),
        )


def worst_change(
    name: str,
    changes: Mapping[str, Sequence[Comparison]],
    heads: Sequence[str],
    read: Callable[[Comparison], float],
    *,
    flags: bool,
) -> tuple[str, Metric]:
    """The change under which a mean over comparisons is largest, and that mean.

    Args:
        name: of the figure.
        changes: name of the change -> comparisons.
        heads: whose comparisons count.
        read: the number of a comparison.
        flags: whether that is 0 or 1.

    Raises:
        AbsentError: none of these heads was asked.
        NotComputableError: no comparison of these heads has both answers.
    """
    found = {
        change: groups
        for change, comparisons in changes.items()
        if (groups := by_episode((c for c in comparisons if c.head in heads), read))
    }
    if not any(c.head in heads for some in changes.values() for c in some):
        raise AbsentError(f"{' and '.join(heads)} was not asked")
    if not found:
        raise NotComputableError(f"nothing was answered by {' or '.join(heads)}")
    name_of = max(found, key=lambda change: float(np.mean(np.concatenate(found[change]))))
    return name_of, mean_of(name, found[name_of], flags=flags)


def change_rows(
    changes: Mapping[str, Sequence[Comparison]],
) -> tuple[tuple[str | float | int | None, ...], ...]:
    """Rows of (change, progress change, completion flips, contrastive flips, comparisons)."""

    def cell(some: Sequence[Comparison], head: str, read: Callable[[Comparison], float]) -> object:
        values = [read(c) for c in some if c.head == head and c.answered]
        return float(np.mean(values)) if values else None

    rows: list[tuple[str | float | int | None, ...]] = []
    for change, some in changes.items():
        figures = (
            cell(some, "progress", lambda c: c.change),
            cell(some, "completion", lambda c: c.flipped),
            cell(some, "contrastive", lambda c: c.flipped),
        )
        count = sum(c.answered for c in some)
        rows.append((change, *(f if isinstance(f, float) else None for f in figures), count))
    return tuple(rows)
