"""``lrm bench agreement``: asks drawn questions with every readout and compares the answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lrm_client import HeadInfo, ModelInfo, Readout, RewardClient, __version__
from lrm_client.connection import parse_target
from lrm_server.commands.connection import DEFAULT_SERVER, NoServerError, ServerChoice, connect
from lrm_server.commands.consoles import progress_bar, table_console
from lrm_server.commands.eval_run import LEAST_RESAMPLES, UsageError
from lrm_server.evaluation.agreement import Comparison, HeadAgreement, Readings, agreement
from lrm_server.evaluation.asking import ServedModel
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.readouts import (
    TokenMeter,
    ask_in_every_way,
    sample_questions,
    warm_up,
    why_not_asked,
)
from lrm_server.evaluation.tables import DASH, Footnotes, cell_text
from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementOptions:
    """The arguments of ``lrm bench agreement``; see its help.

    Raises:
        UsageError: a readout that there is none, an address that is none, too few resamples.
    """

    data: tuple[Path, ...]
    server: str | None
    token: str | None
    local: bool
    heads: tuple[str, ...]
    readouts: tuple[str, ...]
    frames: int
    camera: str | None
    batch: int
    resamples: int
    seed: int
    out: Path | None
    as_json: bool

    def __post_init__(self) -> None:
        known = [readout.value for readout in Readout]
        unknown = [name for name in self.readouts if name not in known]
        if unknown or len(self.readouts) < 2:
            raise UsageError(
                f"--readouts: {', '.join(unknown) or 'one alone'} cannot be compared; choose two "
                f"or more of {', '.join(known)}"
            )
        if self.server is not None:
            try:
                parse_target(self.server)
            except ValueError as error:
                raise UsageError(f"--server: {error}") from error
        if 0 < self.resamples < LEAST_RESAMPLES:
            raise UsageError(f"--resamples: give at least {LEAST_RESAMPLES}, or 0 for none")


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What was found: the models, their heads, and why others were not asked."""

    server: str
    models: tuple[ModelInfo, ...]
    heads: tuple[HeadAgreement, ...]
    left_out: Mapping[str, str]

    @property
    def answered(self) -> int:
        """How many questions were answered."""
        return sum(each.answered for head in self.heads for each in head.readings)


def run_agreement(options: AgreementOptions) -> int:
    """Runs the benchmark and returns the exit status.

    Raises:
        UsageError: a data set or a head that is not there, or a file that cannot be written.
        NoServerError: nobody answers at the address.
        LocalServerError: the server of its own does not start, or does not stop as it should.
        LrmError: the server cannot be asked.
    """
    console = Console(stderr=True)
    data, episodes = _episodes(options)
    with _served(options, console) as (where, client):
        report = _ask(client, where, episodes, options, console)
    document = _document(report, data, options)
    if options.out is not None:
        try:
            options.out.write_text(document, "utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    if options.as_json:
        sys.stdout.write(document)
    else:
        _show(report, len(episodes), options, table_console())
    return int(not report.answered)


def _episodes(options: AgreementOptions) -> tuple[list[str], list[RecordedEpisode]]:
    """The data sets by name, and their episodes."""
    bundled = Path(str(resources.files("lrm_server"))) / "demo" / "rollouts"
    try:
        opened = [open_data_set(path, camera=options.camera) for path in options.data or (bundled,)]
    except RecordingError as error:
        raise UsageError(str(error)) from error
    return [each.name for each in opened], [episode for each in opened for episode in each]


@contextmanager
def _served(options: AgreementOptions, console: Console) -> Iterator[tuple[str, RewardClient]]:
    """A client, and in words whose; of an own server where none is named and none answers."""
    with ExitStack() as stack:
        if not options.local:
            address = options.server or DEFAULT_SERVER
            try:
                client = stack.enter_context(connect(ServerChoice(address, options.token)))
            except NoServerError:
                if options.server is not None:
                    raise
                console.print(f"no server answers at {address}: starting one", highlight=False)
            else:
                yield address, client
                return
        yield "of its own", stack.enter_context(connect(ServerChoice(local=True)))


def _ask(
    client: RewardClient,
    where: str,
    episodes: Sequence[RecordedEpisode],
    options: AgreementOptions,
    console: Console,
) -> Report:
    served = client.models()
    if not served.models:
        raise UsageError(f"the server {where} serves no model")
    heads = {name: info for model in served.models for name, info in model.heads.items()}
    left_out = {name: why for name, info in heads.items() if (why := why_not_asked(info))}
    chosen = _chosen(heads, options, left_out)
    readouts = [Readout(name) for name in options.readouts]
    meter = TokenMeter()
    asker = ServedModel(client, where, meter)
    samples = {
        info.name: sample_questions(info, episodes, options.frames, options.seed) for info in chosen
    }
    found = []
    with progress_bar(console) as progress:
        total = len(readouts) * sum(map(len, samples.values()))
        bar = progress.add_task("asking", total=total)
        for head, questions in samples.items():
            if not questions:
                left_out[head] = "no episode has two frames to compare"
                continue
            batch = min(options.batch, served.limits.max_batch or options.batch)
            warm_up(asker, questions, readouts, batch)
            asked = ask_in_every_way(
                asker,
                questions,
                readouts,
                batch=batch,
                meter=meter,
                advanced=lambda done: progress.advance(bar, done),
            )
            found.append(agreement(asked, Bootstrap(options.resamples, seed=options.seed)))
    return Report(where, served.models, tuple(found), left_out)


def _chosen(
    heads: Mapping[str, HeadInfo], options: AgreementOptions, left_out: Mapping[str, str]
) -> list[HeadInfo]:
    for name in options.heads:
        if name not in heads:
            raise UsageError(f"--heads: {name} is not served; choose from {', '.join(heads)}")
        if name in left_out:
            raise UsageError(f"--heads: {name} is not asked about frames: {left_out[name]}")
    return [heads[name] for name in options.heads or heads if name not in left_out]


def _document(report: Report, data: Sequence[str], options: AgreementOptions) -> str:
    content: dict[str, Any] = {
        "lrm": __version__,
        "server": report.server,
        "models": [
            {"id": model.id, "fingerprint": model.fingerprint, "description": model.description}
            for model in report.models
        ],
        "data_sets": list(data),
        "sample": {"frames_per_episode": options.frames, "seed": options.seed},
        "batch": options.batch,
        "bootstrap": {
            "resamples": options.resamples,
            "level": Bootstrap().level,
            "over": "episodes",
        },
        "heads": [asdict(head) for head in report.heads],
        "left_out": dict(report.left_out),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _show(report: Report, episodes: int, options: AgreementOptions, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    for model in report.models:
        say(f"{model.id} ({model.fingerprint}), server {report.server}")
    say(f"{episodes} episodes, {options.frames} drawn frames of each, seed {options.seed}")
    console.print(_readings_table(report.heads))
    notes = Footnotes()
    for head in report.heads:
        console.print(_comparisons_table(head, notes))
    for number, text in notes:
        say(f"  {number}) {text}")
    for name, why in report.left_out.items():
        say(f"left out: {name}, {why}")
    for head in report.heads:
        for each in head.readings:
            if each.said:
                say(f"failed: {head.head}, {each.readout.value}: {each.said}")
    if options.resamples:
        level = Bootstrap().level
        say(f"intervals: {level:.0%}, {options.resamples} resamples over episodes")


def _readings_table(heads: Sequence[HeadAgreement]) -> Table:
    table = Table(
        title="What each readout gave; time and tokens of a query where it was the first to ask",
        title_justify="left",
    )
    for column in ("head", "readout"):
        table.add_column(column, no_wrap=True)
    for column in ("asked", "answered", "failed", "ms/query", "prompt", "computed", "written"):
        table.add_column(column, justify="right", no_wrap=column != "failed")
    for head in heads:
        for each in head.readings:
            table.add_row(head.head, *_reading_cells(each))
    return table


def _reading_cells(each: Readings) -> tuple[str, ...]:
    failed = ", ".join(f"{code} {count}" for code, count in each.failures.items())
    cost = each.cost
    seconds = None if cost is None else 1000 * cost.seconds
    tokens = (None,) * 3 if cost is None else (cost.prompt, cost.computed, cost.written)
    return (
        each.readout.value,
        str(each.asked),
        str(each.answered),
        failed or "0",
        *(DASH if number is None else f"{number:.1f}" for number in (seconds, *tokens)),
    )


def _comparisons_table(head: HeadAgreement, notes: Footnotes) -> Table:
    table = Table(title=f"{head.head}: where both answered", title_justify="left")
    for column in ("readouts", "use"):
        table.add_column(column, no_wrap=True)
    for column in ("both", "same label", "mean |diff|", "largest", "rank corr."):
        table.add_column(column, justify="right", no_wrap=True)
    for each in head.comparisons:
        table.add_row(*_comparison_cells(each, notes))
    return table


def _comparison_cells(each: Comparison, notes: Footnotes) -> tuple[str | Text, ...]:
    largest = each.largest_difference
    return (
        f"{each.first.value}, {each.second.value}",
        each.use.value,
        str(each.both),
        cell_text(notes.cell(each.equal)),
        cell_text(notes.cell(each.mean_difference)),
        DASH if largest is None else f"{largest:.3f}",
        cell_text(notes.cell(each.rank_correlation)),
    )
