"""Filled tables for the terminal and as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lrm_server.evaluation.metrics.result import Metric
from lrm_server.evaluation.sections import FilledTable, TableRow

DASH: Final = "–"  # noqa: RUF001
ARROWS: Final = {"higher": "↑", "lower": "↓", None: ""}
"""Which way is better, beside a row's label."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric as it is printed.

    Attributes:
        value: three decimals, or a dash.
        interval: ``[low, high]``, or empty.
        notes: numbers of the footnotes.
    """

    value: str
    interval: str = ""
    notes: tuple[int, ...] = ()


class Footnotes:
    """What is said once under a table, numbered from 1 in the order of first appearance."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def cell(self, metric: Metric) -> Cell:
        """A metric, with its reason or else what must be known as a footnote."""
        text = metric.why or metric.note
        notes = (self._texts.setdefault(text, len(self._texts) + 1),) if text else ()
        if metric.value is None:
            return Cell(DASH, notes=notes)
        interval = "" if metric.low is None else f"[{metric.low:.2f}, {metric.high:.2f}]"
        return Cell(f"{metric.value:.3f}", interval, notes)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter([(number, text) for text, number in self._texts.items()])


def print_tables(tables: Sequence[FilledTable], console: Console) -> None:
    """Prints tables with what must be known about their published columns."""
    for table in tables:
        console.print(_rich_table(table))
        console.print()


def as_data(table: FilledTable) -> dict[str, Any]:
    """A table as JSON can hold it: every metric with its interval, count and reason."""
    return {
        "section": table.section.key,
        "title": table.section.title,
        "about": table.section.about,
        "rows": [
            {
                "key": row.key,
                "label": row.label,
                "models": {
                    name: asdict(metric)
                    for name, metric in zip(table.models, row.metrics, strict=True)
                },
                "differences": {
                    name: asdict(metric)
                    for name, metric in zip(table.compared, row.differences, strict=True)
                },
            }
            for row in table.rows
            if row.metrics
        ],
        "published": {column.title: dict(column.figures) for column in table.published},
    }


def _rich_table(table: FilledTable) -> Group:
    footnotes = Footnotes()
    shown = Table(title=Text(table.section.title), title_justify="left")
    shown.add_column("", no_wrap=True)
    for name in table.models:
        shown.add_column(_header(name), justify="right", no_wrap=True)
    for column in table.published:
        title = Text(f"published:\n{column.title}")
        shown.add_column(title, justify="right", style="dim")
    for row in table.rows:
        shown.add_row(*_cells(row, table, footnotes))
    differences = [_differences(table, footnotes)] if table.compared else []
    notes = [Text(f"  {number}) {text}", style="dim") for number, text in footnotes]
    return Group(shown, *differences, Text(f"  {table.section.about}", style="dim"), *notes)


def _differences(table: FilledTable, footnotes: Footnotes) -> Table:
    """Beneath the figures: beside them no terminal would be wide enough."""
    shown = Table()
    shown.add_column("", no_wrap=True)
    for name in table.compared:
        shown.add_column(_header(name), justify="right", no_wrap=True)
    for row in table.rows:
        cells = [cell_text(footnotes.cell(metric)) for metric in row.differences]
        shown.add_row(_label(row), *(cells or [Text("")] * len(table.compared)))
    return shown


def _header(name: str) -> Text:
    """A model with its readout below it; a reference, which has none, word below word."""
    return Text(name.replace(", ", ",\n") if ", " in name else name.replace(" ", "\n"))


def _cells(row: TableRow, table: FilledTable, footnotes: Footnotes) -> list[Text]:
    cells = [cell_text(footnotes.cell(metric)) for metric in row.metrics]
    blank = [Text("")] * (len(table.models) - len(cells))
    said = row.published or [""] * len(table.published)
    published = [Text("" if row.indented else figure or DASH) for figure in said]
    return [_label(row), *cells, *blank, *published]


def _label(row: TableRow) -> Text:
    label = Text("  " * row.indented + row.label)
    if row.better:
        label.append(f" {ARROWS[row.better]}", style="dim")
    return label


def cell_text(cell: Cell) -> Text:
    """A cell as a table shows it."""
    text = Text(cell.value)
    if cell.interval:
        text.append(f" {cell.interval}", style="dim")
    if cell.notes:
        text.append(f" {','.join(str(note) for note in cell.notes)})", style="dim")
    return text
