"""``lrm audit``: may one train on this model, in this scene?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lrm_client import LrmError
from lrm_client.connection import parse_target
from lrm_server.commands.connection import DEFAULT_SERVER, NoServerError, ServerChoice, connect
from lrm_server.commands.consoles import progress_bar, table_console
from lrm_server.commands.options import INTERRUPTED, ServerOption, TokenOption, failed, wrong
from lrm_server.commands.process import LocalServerError

if TYPE_CHECKING:
    from lrm_server.audit.audit import Audit
    from lrm_server.audit.sampling import Budget
    from lrm_server.audit.thresholds import Thresholds
    from lrm_server.audit.wording import Wording
    from lrm_server.evaluation.asking import RewardModel
    from lrm_server.recordings.data_set import DataSet

EPILOG = (
    "Exit status: 0 train, also with care; 3 do not train; 4 not decided, for want of labels or "
    "answers; 1 the audit could not run; 2 wrong usage."
)


Roles = Mapping[str, Collection[str]]
"""Head -> the frames that it looks at."""


class AuditedHead(str, Enum):
    """The heads that can be audited."""

    CONTRASTIVE = "contrastive"
    PROGRESS = "progress"
    COMPLETION = "completion"


class Constructed(str, Enum):
    """The constructed models."""

    ORACLE = "oracle"
    EARLY_THEN_FLAT = "early_then_flat"
    UNCORRELATED = "uncorrelated"
    LATE_AND_GRADUAL = "late_and_gradual"
    ALL_YES = "all_yes"
    BY_TIME = "by_time"


def audit(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Labelled episodes: LeRobot's layout, or folders."),
    ],
    server: ServerOption = DEFAULT_SERVER,
    token: TokenOption = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Start a server of its own on this checkpoint while it runs; embedded for ours.",
        ),
    ] = None,
    constructed: Annotated[
        Constructed | None,
        typer.Option(
            help="Audit a model made from the labels instead, whose faults are known: the audit's "
            "own test, which shows what it says of them."
        ),
    ] = None,
    head: Annotated[
        list[AuditedHead] | None,
        typer.Option(help="Head that one would train on; repeat. All that are served, if none."),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Whose frames, where there are several cameras.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="At most so many episodes.")] = 60,
    frames: Annotated[int, typer.Option(min=2, help="At most so many frames of each.")] = 14,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of frames of each episode.")] = 2,
    probes: Annotated[
        int, typer.Option(min=1, help="Episodes asked again with edits and other words.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of every choice.")] = 0,
    paraphrase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT|FILE.json",
            help="The task in other words, a text with {task} in it, or a JSON object of task to "
            "list of texts; repeat for several.",
        ),
    ] = None,
    wrong_task: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A task that nobody does here; repeat for several."),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Thresholds in place of the shipped ones."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page.")
    ] = None,
) -> None:
    """May I train on this model, in this scene? Judge it by labelled episodes.

    Give it successes, failures and a weak policy's attempts in your scene. It checks when success
    is called, false positives, plateaus, correlation, calibration, consistency, sensitivity to
    camera and light, and whether the task is heard; each check has its threshold and its verdict.
    """
    # The audit's parts load scientific libraries, which takes a second.
    from lrm_server.audit.sampling import Budget
    from lrm_server.audit.thresholds import ThresholdsError, default_thresholds, read_thresholds
    from lrm_server.audit.wording import WordingError, read_wording
    from lrm_server.evaluation.identity import NotJudgeableError
    from lrm_server.recordings.data_set import open_data_set
    from lrm_server.recordings.episode import RecordingError

    try:
        limits = default_thresholds() if thresholds is None else read_thresholds(thresholds)
        data_set = open_data_set(data, camera=camera)
        tasks = [episode.task for episode in data_set]
        wording = read_wording(paraphrase or (), wrong_task or (), tasks)
    except (RecordingError, ThresholdsError, WordingError) as error:
        raise wrong(str(error)) from error
    for file in (json_file, html_file):
        if file is not None and not file.parent.is_dir():
            raise wrong(f"there is no folder {file.parent} to write {file.name} to")
    try:
        parse_target(server)
    except ValueError as error:
        raise wrong(f"--server: {error}") from error
    budget = Budget(episodes, frames, pairs, probes, seed)
    heads = tuple(dict.fromkeys(each.value for each in head or ()))
    choice = ServerChoice(server, token, checkpoint is not None, checkpoint)
    try:
        with _model(choice, constructed, wording, seed) as (model, served):
            asked = {head: served[head] for head in _heads(heads, served)}
            found = _run(model, data_set, asked, budget, wording, limits)
    except (NoServerError, LocalServerError, LrmError, NotJudgeableError) as error:
        raise failed(str(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(_report(found, json_file, html_file))


@contextmanager
def _model(
    choice: ServerChoice, constructed: Constructed | None, wording: Wording, seed: int
) -> Iterator[tuple[RewardModel, Roles]]:
    """Who is audited, and the frames that each of its heads looks at."""
    from lrm_server.audit.audit import HEADS
    from lrm_server.audit.constructed import ConstructedModel
    from lrm_server.evaluation.asking import ServedModel
    from lrm_server.evaluation.identity import HeadIdentity, identify

    if constructed is not None:
        model = ConstructedModel(constructed.value, seed, wording.paraphrases)
        yield model, {head: HeadIdentity().roles for head in HEADS}
        return
    with connect(choice) as client:
        identity = identify(client)
        yield (
            ServedModel(client, identity.id),
            {name: head.roles for name, head in identity.heads.items()},
        )


def _heads(wanted: Sequence[str], served: Collection[str]) -> tuple[str, ...]:
    from lrm_server.audit.audit import HEADS
    from lrm_server.evaluation.identity import NotJudgeableError

    if missing := [head for head in wanted if head not in served]:
        raise NotJudgeableError(f"head {missing[0]} is not served; {', '.join(served)} are")
    heads = tuple(wanted) or tuple(head for head in HEADS if head in served)
    if not heads:
        raise NotJudgeableError(
            f"none of {', '.join(HEADS)} is served, so there is nothing to audit"
        )
    return heads


def _run(
    model: RewardModel,
    data_set: DataSet,
    roles: Roles,
    budget: Budget,
    wording: Wording,
    thresholds: Thresholds,
) -> Audit:
    from lrm_server.audit.audit import plan_audit, run_audit

    plan = plan_audit(data_set, tuple(roles), budget, wording, thresholds, roles)
    console = Console(stderr=True)
    with progress_bar(console) as bar:
        task = bar.add_task("asking", total=len(plan.questions))
        return run_audit(
            model,
            plan,
            data_set=data_set.name,
            available=len(data_set),
            budget=budget,
            thresholds=thresholds,
            unreadable=[(problem.id, problem.cause) for problem in data_set.problems],
            advanced=lambda count: bar.advance(task, count),
        )


def _report(found: Audit, json_file: Path | None, html_file: Path | None) -> int:
    """Shows and writes the report; returns the exit status."""
    from lrm_server.audit.page import write_page
    from lrm_server.audit.report import write_json
    from lrm_server.audit.terminal import show_audit
    from lrm_server.audit.verdict import EXIT_STATUS

    show_audit(found, table_console())
    try:
        if json_file is not None:
            write_json(found, json_file)
        if html_file is not None:
            write_page(found, html_file)
    except OSError as error:
        raise failed(f"cannot write {error.filename}: {error.strerror}") from error
    return EXIT_STATUS[found.decision.overall]
