"""What ``bench.throughput`` found: rates, their ratios, and how they are shown. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from bench.goals import Goal
from bench.learner import Load, Took

BARE, RAW, JPEG, OPENAI = "bare engine", "lrm", "lrm, JPEG", "vLLM's server, JPEG"
"""The sides that take turns."""
COMPARED_AT: Final = 64
"""Environments at which the goals hold."""
OF_BARE: Final = 0.9
OF_OPENAI: Final = 1.4
TIMES_SHORT: Final = 5.0
TIMES_REASONED: Final = 20.0


@dataclass(frozen=True)
class Row:
    """One head at one number of environments.

    Attributes:
        head: which one.
        environments: N.
        rates: side -> queries answered per second of its due steps, the first of an episode aside.
        rewards_per_s: through lrm with raw frames, held ones included.
        due_ms_median: of lrm's due steps of all environments, raw frames.
        due_ms_worst: the same.
        held_us: of a step that asks nothing, microseconds of an environment.
    """

    head: str
    environments: int
    rates: dict[str, float]
    rewards_per_s: float
    due_ms_median: float
    due_ms_worst: float
    held_us: float

    def ratio(self, side: str, other: str) -> float:
        """How many times the rate of another side; NaN where one was not asked."""
        return self.rates.get(side, math.nan) / self.rates.get(other, math.nan)


@dataclass(frozen=True)
class Written:
    """What the plain service does with one form of answers.

    Attributes:
        head: which one.
        reasons: whether it writes as much as a published form that reasons first.
        tokens: written for an answer, in the mean.
        rate: answers per second.
    """

    head: str
    reasons: bool
    tokens: float
    rate: float


def row_of(load: Load, taken: Mapping[str, Sequence[Took]]) -> Row:
    """The figures of all turns of one head at one number of environments.

    Args:
        load: of a turn.
        taken: side -> its turns; ``RAW`` is among them.
    """
    due = _steady(taken[RAW])
    held = [seconds for took in taken[RAW] for seconds in took.held]
    cycle = statistics.mean(due) + (load.interval - 1) * statistics.mean(held)
    return Row(
        head=", ".join(load.heads),
        environments=load.environments,
        rates={side: load.queries / statistics.mean(_steady(each)) for side, each in taken.items()},
        rewards_per_s=load.queries * load.interval / cycle,
        due_ms_median=1000 * statistics.median(due),
        due_ms_worst=1000 * max(due),
        held_us=1e6 * statistics.median(held) / load.environments,
    )


def _steady(turns: Sequence[Took]) -> list[float]:
    return [seconds for took in turns for seconds in took.steady]


def show_rates(rows: Sequence[Row]) -> Table:
    """Rates and their ratios as a table."""
    table = Table(title=f"rewards per second with K = {Load.interval}; queries per second")
    columns: dict[str, Callable[[Row], str]] = {
        "head": lambda row: row.head,
        "envs": lambda row: str(row.environments),
        "rewards/s": lambda row: f"{row.rewards_per_s:.0f}",
        "lrm": lambda row: f"{row.rates[RAW]:.1f}",
        "(a)": lambda row: f"{row.rates[BARE]:.1f}",
        "lrm/(a)": lambda row: f"{row.ratio(RAW, BARE):.2f}",
        "lrm, JPEG": lambda row: f"{row.rates[JPEG]:.1f}",
        "(b)": lambda row: f"{row.rates.get(OPENAI, math.nan):.1f}",
        "JPEG/(b)": lambda row: f"{row.ratio(JPEG, OPENAI):.2f}",
        "due ms": lambda row: f"{row.due_ms_median:.0f}",
        "worst": lambda row: f"{row.due_ms_worst:.0f}",
        "held us": lambda row: f"{row.held_us:.1f}",
    }
    for title in columns:
        table.add_column(title, justify="left" if title == "head" else "right", no_wrap=True)
    last = ""
    for row in rows:
        if last and row.head != last:
            table.add_section()
        last = row.head
        table.add_row(*(form(row) for form in columns.values()))
    return table


def compared(rows: Sequence[Row], head: str) -> Row:
    """A head's row at the number of environments that goals are of, or nearest to it."""
    mine = [row for row in rows if row.head == head]
    return min(mine, key=lambda row: abs(row.environments - COMPARED_AT))


def show_written(written: Sequence[Written], rows: Sequence[Row]) -> Table:
    """The plain service beside lrm as a table."""
    table = Table(title="(c): transformers' generate, one at a time, raw base64 frames")
    table.add_column("head")
    table.add_column("answer")
    for title in ("tokens", "(c)/s", "envs", "lrm/s", "times (c)"):
        table.add_column(title, justify="right")
    for each in written:
        row = compared(rows, each.head)
        table.add_row(
            each.head,
            "as long as published" if each.reasons else "as it writes",
            f"{each.tokens:.0f}",
            f"{each.rate:.2f}",
            str(row.environments),
            f"{row.rates[RAW]:.1f}",
            f"{row.rates[RAW] / each.rate:.1f}",
        )
    return table


def throughput_goals(rows: Sequence[Row], written: Sequence[Written]) -> list[Goal]:
    """What the ratios should be, for each head."""
    found = []
    for head in dict.fromkeys(row.head for row in rows):
        row = compared(rows, head)
        at = f"{head} at {row.environments}"
        found.append(Goal(f"{at}: lrm / (a)", row.ratio(RAW, BARE), OF_BARE))
        if OPENAI in row.rates:
            found.append(Goal(f"{at}: lrm, JPEG / (b)", row.ratio(JPEG, OPENAI), OF_OPENAI))
        for each in written:
            if each.head == head:
                form = "as long as published" if each.reasons else "as it writes"
                bound = TIMES_REASONED if each.reasons else TIMES_SHORT
                found.append(Goal(f"{at}: lrm / (c), {form}", row.rates[RAW] / each.rate, bound))
    return found
