"""The arguments of ``lrm bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrm_client import LrmError, Readout
from lrm_server.commands.connection import DEFAULT_SERVER, NoServerError
from lrm_server.commands.options import INTERRUPTED, TokenOption, failed, wrong
from lrm_server.commands.process import LocalServerError

bench = typer.Typer(
    name="bench", help="What a served model's answers cost, and agree.", no_args_is_help=True
)


@bench.callback()
def _bench() -> None:
    """What a served model's answers cost, and agree."""


@bench.command()
def agreement(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DATA_SET]...",
            help="Data sets of recorded episodes; the demo's rollouts if none.",
            show_default=False,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="LRM_SERVER",
            help=f"Address of a running server. If none is named, {DEFAULT_SERVER} where one "
            "answers, else one that is started.",
        ),
    ] = None,
    token: TokenOption = None,
    local: Annotated[
        bool, typer.Option("--local", help="Start a server of its own while this runs.")
    ] = False,
    heads: Annotated[
        str | None,
        typer.Option(help="Which heads, with commas in between; all that look at single frames."),
    ] = None,
    readouts: Annotated[
        str, typer.Option(help="Which readouts, with commas in between.")
    ] = ",".join(readout.value for readout in Readout),
    frames: Annotated[
        int, typer.Option(min=1, help="Frames that are drawn of each episode, for each head.")
    ] = 8,
    camera: Annotated[
        str | None, typer.Option(help="Whose frames, where a data set has several cameras.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Most questions in one request.")] = 32,
    resamples: Annotated[
        int, typer.Option(min=0, help="Resamples of the bootstrap; 0 for no intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Where figures go.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON instead of tables.")
    ] = False,
) -> None:
    """How often a head's readouts agree on real frames, how far apart they are, what each costs.

    Each drawn question is asked once with every readout. The exit status is 1 when nothing was
    answered.
    """
    # Imported here: statistics take seconds to load.
    from lrm_server.commands.bench_agreement import AgreementOptions, run_agreement
    from lrm_server.commands.eval_run import UsageError
    from lrm_server.recordings.episode import RecordingError

    try:
        options = AgreementOptions(
            data=tuple(data or ()),
            server=server,
            token=token,
            local=local,
            heads=_words(heads or ""),
            readouts=_words(readouts),
            frames=frames,
            camera=camera,
            batch=batch,
            resamples=resamples,
            seed=seed,
            out=out,
            as_json=as_json,
        )
        status = run_agreement(options)
    except UsageError as error:
        raise wrong(str(error)) from error
    except (NoServerError, LocalServerError, LrmError, RecordingError, OSError) as error:
        raise failed(str(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(status)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
