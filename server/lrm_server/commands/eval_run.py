"""``lrm eval``: asks each model in turn, then prints the tables and writes the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from rich.console import Console

from lrm_client import Readout
from lrm_client.connection import parse_target
from lrm_server.commands.connection import ServerChoice, connect
from lrm_server.commands.consoles import progress_bar, table_console
from lrm_server.evaluation.answers import AnswerStore, only_writer
from lrm_server.evaluation.asking import ServedModel
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.identity import NotJudgeableError, identify
from lrm_server.evaluation.judged import EpisodeSet, JudgedModel
from lrm_server.evaluation.outcome import Evaluation, evaluate, rows_of
from lrm_server.evaluation.plan import HEADS
from lrm_server.evaluation.published import published_figures
from lrm_server.evaluation.scoring import Asking, Scoring
from lrm_server.evaluation.tables import print_tables
from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordingError

LEAST_RESAMPLES: Final = 100


class UsageError(Exception):
    """Arguments that cannot be meant; says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions:
    """The arguments of ``lrm eval``; see its help.

    Raises:
        UsageError: heads that are not judged, no readout, an address that is none, or too few
            resamples.
    """

    data: Sequence[Path]
    sources: Sequence[ServerChoice]
    heads: tuple[str, ...]
    readouts: tuple[Readout | None, ...]
    every: int
    camera: str | None
    out: Path
    report: Path
    batch: int
    allow_failures: float
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        unknown = [head for head in self.heads if head not in HEADS]
        if unknown or not self.heads:
            raise UsageError(
                f"--heads: {', '.join(unknown) or 'none'} cannot be judged; choose from "
                f"{', '.join(HEADS)}"
            )
        for source in self.sources:
            _refuse_no_address(source.address)
        if not self.readouts:
            raise UsageError("--readouts names none")
        if 0 < self.resamples < LEAST_RESAMPLES:
            raise UsageError(
                f"--resamples {self.resamples} is too few for an interval: give at least "
                f"{LEAST_RESAMPLES}, or 0 for none"
            )


def _refuse_no_address(address: str) -> None:
    try:
        parse_target(address)
    except ValueError as error:
        raise UsageError(f"--server: {error}") from error


def run_eval(options: EvalOptions) -> int:
    """Runs the whole evaluation and returns the exit status.

    Raises:
        UsageError: a data set that cannot be opened, or a target that cannot be written.
        NoServerError: nobody answers at an address.
        LocalServerError: a checkpoint's server does not start, or does not stop as it should.
        StoreError: the output folder cannot be used.
        LrmError: a server cannot be asked.
        RecordingError: an episode that could be read cannot be read any more.
        NotJudgeableError: a server without a model, a fingerprint or a head that is judged.
    """
    console = Console(stderr=True)
    data_sets = _open(options)
    asking = Asking(options.heads, options.readouts, options.batch)
    models: list[JudgedModel] = []
    with only_writer(options.out):
        for source in options.sources:
            models += _ask(source, data_sets, asking, options.out, console)
        bootstrap = Bootstrap(options.resamples, seed=options.seed)
        evaluation = _evaluate(data_sets, _named_apart(models), asking, bootstrap, console)
        _write(evaluation, options)
    print_tables(evaluation.tables, table_console())
    _summarise(evaluation, options)
    allowed = options.allow_failures * evaluation.asked
    return int(not evaluation.reported or len(evaluation.failures) > allowed)


def _open(options: EvalOptions) -> list[EpisodeSet]:
    data_sets: list[EpisodeSet] = []
    if len({path.resolve() for path in options.data}) < len(options.data):
        raise UsageError("a data set is given twice: its episodes would count twice")
    for path in options.data:
        try:
            opened = open_data_set(path, camera=options.camera)
            if options.every > 1:
                opened = opened.thinned(options.every)
        except RecordingError as error:
            raise UsageError(str(error)) from error
        taken = {data_set.name for data_set in data_sets}
        name = opened.name if opened.name not in taken else str(path)
        problems = {problem.id: problem.cause for problem in opened.problems}
        data_sets.append(EpisodeSet(name, opened, problems))
    return data_sets


def _ask(
    source: ServerChoice,
    data_sets: Sequence[EpisodeSet],
    asking: Asking,
    out: Path,
    console: Console,
) -> list[JudgedModel]:
    with connect(source) as client:
        identity = identify(client)
        name = Path(source.checkpoint).name if source.checkpoint else identity.id
        if not any(head in identity.heads for head in asking.heads):
            served = ", ".join(identity.heads) or "none"
            raise NotJudgeableError(
                f"{name} serves none of {', '.join(asking.heads)}, but {served}"
            )
        with progress_bar(console) as progress:
            bar = progress.add_task(f"asking {name}", total=asking.count(data_sets, identity))
            return Scoring(
                ServedModel(client, name),
                identity,
                AnswerStore(out, identity),
                asking,
                lambda done: progress.advance(bar, done),
            ).run(data_sets)


def _named_apart(models: Sequence[JudgedModel]) -> list[JudgedModel]:
    """Columns of one name and readout get their model's fingerprint, or their place."""
    titles = [model.title for model in models]
    named = []
    for place, model in enumerate(models):
        if titles.count(model.title) > 1:
            mine = _fingerprint(model)
            twins = [m for m in models if m.title == model.title and _fingerprint(m) == mine]
            mark = mine[:8] if len(twins) == 1 else f"{place + 1}"
            named.append(model.called(f"{model.name} ({mark})"))
        else:
            named.append(model)
    return named


def _fingerprint(model: JudgedModel) -> str:
    return model.identity.fingerprint if model.identity else ""


def _evaluate(
    data_sets: Sequence[EpisodeSet],
    models: Sequence[JudgedModel],
    asking: Asking,
    bootstrap: Bootstrap,
    console: Console,
) -> Evaluation:
    with progress_bar(console) as progress:
        bar = progress.add_task("computing figures", total=rows_of(data_sets))
        return evaluate(data_sets, models, asking.heads, bootstrap, lambda: progress.advance(bar))


def _write(evaluation: Evaluation, options: EvalOptions) -> None:
    # Imported here: matplotlib takes a second to load, in which questions could be asked.
    from lrm_server.evaluation.report.page import render_page

    facts = {
        "heads": ", ".join(options.heads),
        "readouts": ", ".join(map(_word, options.readouts)),
        "frames": "all" if options.every == 1 else f"every {options.every}th, and the last",
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    page = render_page(evaluation, facts)
    try:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(page, "utf-8")
        (options.out / "figures.json").write_text(
            evaluation.as_json(_reproducing(options)), "utf-8"
        )
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error


def _reproducing(options: EvalOptions) -> dict[str, object]:
    """What decides on the figures, beside the models and the data."""
    return {
        "data_sets": [str(path) for path in options.data],
        "checkpoints": [source.checkpoint for source in options.sources if source.local],
        "servers": [source.address for source in options.sources if not source.local],
        "heads": list(options.heads),
        "readouts": [_word(readout) for readout in options.readouts],
        "every": options.every,
        "camera": options.camera,
        "resamples": options.resamples,
        "seed": options.seed,
    }


def _word(readout: Readout | None) -> str:
    return readout.value if readout else "default"


def _summarise(evaluation: Evaluation, options: EvalOptions) -> None:
    console = table_console()

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    say(published_figures().notice)
    judged = [model.identity for model in evaluation.models if model.identity is not None]
    for name, about in dict.fromkeys((each.id, each.description) for each in judged):
        if about:
            say(f"{name}: {about}")
    for data_set in evaluation.data_sets:
        for id_, cause in data_set.problems.items():
            say(f"left out of {data_set.name}: {id_}: {cause}")
    failures = evaluation.failures
    if failures:
        first = failures[0]
        say(
            f"{len(failures)} of {evaluation.asked} questions failed; the first: {first.model}, "
            f"{first.head} about {first.episode}, frame {first.current}: {first.error}"
        )
    say(f"{evaluation.asked} questions; report: {options.report.resolve()}")
