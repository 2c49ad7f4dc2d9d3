"""Renders the page."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from lrm_client import __version__
from lrm_server.evaluation.judged import EpisodeSet, Failure
from lrm_server.evaluation.outcome import Evaluation
from lrm_server.evaluation.published import published_figures
from lrm_server.evaluation.report.plots import summary_plots
from lrm_server.evaluation.report.traces import chosen_traces
from lrm_server.evaluation.sections import FilledTable
from lrm_server.evaluation.tables import ARROWS, DASH, Cell, Footnotes

TRACES_OF_EACH: Final = 2
FAILURES_SHOWN: Final = 100
_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "pyarrow", "matplotlib")


@dataclass(frozen=True, slots=True)
class PageRow:
    """A row of a table; a heading has no cells."""

    label: str
    arrow: str
    cells: tuple[Cell, ...]
    published: tuple[str, ...]
    indented: bool


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table with its footnotes."""

    table: FilledTable
    rows: tuple[PageRow, ...]
    footnotes: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A data set in figures."""

    name: str
    episodes: int
    frames: int
    successes: int
    failures: int
    groups: Mapping[str, int]
    labels: str
    digest: str
    problems: Mapping[str, str]


def render_page(evaluation: Evaluation, options: Mapping[str, str]) -> str:
    """The report as one HTML document that loads nothing.

    Args:
        evaluation: what was found.
        options: further facts of the setting, by name.
    """
    environment = Environment(
        loader=PackageLoader("lrm_server.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    failures = evaluation.failures
    chosen_by, traces = chosen_traces(evaluation.models, TRACES_OF_EACH)
    return environment.get_template("report.html.jinja").render(
        evaluation=evaluation,
        names=[model.title for model in evaluation.models],
        data=[_facts(evaluation, data_set) for data_set in evaluation.data_sets],
        tables=[_page_table(table) for table in evaluation.tables],
        notice=published_figures().notice,
        sources=_sources(evaluation.tables),
        plots=summary_plots(evaluation.models, evaluation.references),
        chosen_by=chosen_by,
        traces=traces,
        failures=failures[:FAILURES_SHOWN],
        failed=len(failures),
        causes=Counter(_cause(failure) for failure in failures).most_common(),
        bootstrap=evaluation.bootstrap,
        options=options,
        versions={"lrm": __version__, "Python": platform.python_version(), **_versions()},
        dash=DASH,
    )


def _page_table(table: FilledTable) -> PageTable:
    notes = Footnotes()
    rows = tuple(
        PageRow(
            row.label,
            ARROWS[row.better],
            tuple(notes.cell(metric) for metric in (*row.metrics, *row.differences)),
            row.published,
            row.indented,
        )
        for row in table.rows
    )
    return PageTable(table, rows, tuple(notes))


def _facts(evaluation: Evaluation, data_set: EpisodeSet) -> DataFacts:
    episodes = data_set.episodes
    labels: dict[str, list[object]] = {
        "success": [e.success for e in episodes],
        "done": [e.done for e in episodes],
        "progress": [e.progress for e in episodes],
        "reward": [e.rewards for e in episodes],
    }
    counts = {name: sum(label is not None for label in given) for name, given in labels.items()}
    return DataFacts(
        data_set.name,
        len(episodes),
        sum(len(episode.frames) for episode in episodes),
        sum(episode.success is True for episode in episodes),
        sum(episode.success is False for episode in episodes),
        Counter(episode.group or DASH for episode in episodes),
        ", ".join(
            name if count == len(episodes) else f"{name} ({count} of {len(episodes)})"
            for name, count in counts.items()
            if count
        ),
        evaluation.digest_of(data_set),
        data_set.problems,
    )


def _sources(tables: Sequence[FilledTable]) -> dict[str, str]:
    return {
        column.title: f"{column.source}. {column.setting}"
        for table in tables
        for column in table.published
    }


def _cause(failure: Failure) -> str:
    """The error's code, under which failures are counted."""
    return failure.error.partition(":")[0]


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}
