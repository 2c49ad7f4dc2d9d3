"""The arguments of ``lrm eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrm_client import LrmError, Readout
from lrm_server.commands.connection import DEFAULT_SERVER, NoServerError, ServerChoice
from lrm_server.commands.options import INTERRUPTED, TokenOption, failed, wrong
from lrm_server.commands.process import LocalServerError

DEFAULT_READOUT = "default"


def evaluate(
    context: typer.Context,
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA_SET...", help="Data sets of recorded episodes."),
    ],
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Serve this checkpoint while it is asked (embedded, a folder, or a hub name); "
            "repeat to compare several.",
        ),
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            envvar="LRM_SERVER",
            help=f"Address of a running server; repeat to compare several. {DEFAULT_SERVER} where "
            "no checkpoint is given.",
        ),
    ] = None,
    token: TokenOption = None,
    heads: Annotated[
        str, typer.Option(help="Which heads, with commas in between.")
    ] = "contrastive,progress,completion",
    readouts: Annotated[
        str,
        typer.Option(
            help="How answers are read, a column each, with commas in between: default, "
            f"{', '.join(readout.value for readout in Readout)}."
        ),
    ] = DEFAULT_READOUT,
    every: Annotated[int, typer.Option(min=1, help="Take every Nth frame, and the last.")] = 1,
    camera: Annotated[
        str | None, typer.Option(help="Whose frames, where a data set has several cameras.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Answers as Parquet, figures.json and the report."),
    ] = Path("out/eval"),
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Else report.html in the folder.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Most questions in one request.")] = 128,
    allow_failures: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="SHARE", help="Share of questions that may fail with status 0."
        ),
    ] = 0.0,
    resamples: Annotated[
        int, typer.Option(min=0, help="Resamples of the bootstrap; 0 for no intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Judge reward models on recorded episodes: tables of the field's metrics, and a report.

    A run that was ended goes on where it was when the same command is given again; questions that
    failed are asked again. The exit status is 1 when questions failed or nothing could be computed.
    """
    # Imported here: statistics take seconds to load.
    from lrm_server.commands.eval_run import EvalOptions, UsageError, run_eval
    from lrm_server.evaluation.answers import StoreError, has_answers
    from lrm_server.evaluation.identity import NotJudgeableError
    from lrm_server.recordings.episode import RecordingError

    origin = context.get_parameter_source("server")
    # A variable that names a server for everyday use is not meant beside a checkpoint.
    from_variable = origin is not None and origin.name == "ENVIRONMENT"
    addresses = [] if checkpoint and from_variable else server or []
    if not addresses and not checkpoint:
        addresses = [DEFAULT_SERVER]
    sources = [
        *(ServerChoice(token=token, local=True, checkpoint=name) for name in checkpoint or ()),
        *(ServerChoice(address, token) for address in addresses),
    ]
    try:
        options = EvalOptions(
            data=data,
            sources=sources,
            heads=_listed(heads),
            readouts=_readouts(readouts),
            every=every,
            camera=camera,
            out=out,
            report=report or out / "report.html",
            batch=batch,
            allow_failures=allow_failures,
            resamples=resamples,
            seed=seed,
        )
        status = run_eval(options)
    except UsageError as error:
        raise wrong(str(error)) from error
    except (
        NoServerError,
        LocalServerError,
        LrmError,
        StoreError,
        NotJudgeableError,
        RecordingError,
    ) as error:
        kept = [f"What was answered is kept in {out}."] if has_answers(out) else []
        raise failed(str(error), *kept) from error
    except KeyboardInterrupt:
        goes_on = f"; what was answered is in {out}: the same command goes on from there"
        raise failed(
            f"interrupted{goes_on if has_answers(out) else ''}", status=INTERRUPTED
        ) from None
    raise typer.Exit(status)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _readouts(text: str) -> tuple[Readout | None, ...]:
    from lrm_server.commands.eval_run import UsageError

    known = {readout.value: readout for readout in Readout} | {DEFAULT_READOUT: None}
    for name in _listed(text):
        if name not in known:
            raise UsageError(f"--readouts: there is no {name!r}; choose from {', '.join(known)}")
    return tuple(known[name] for name in _listed(text))
