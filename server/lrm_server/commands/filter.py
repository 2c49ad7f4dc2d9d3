"""The arguments of ``lrm filter``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrm_client import LrmError, Readout
from lrm_server.commands.connection import DEFAULT_SERVER, NoServerError, ServerChoice
from lrm_server.commands.options import INTERRUPTED, ServerOption, TokenOption, failed, wrong
from lrm_server.commands.process import LocalServerError
from lrm_server.evaluation.filtering import THRESHOLDS, Agree, Criterion
from lrm_server.recordings.episode import RecordingError

_DEFAULTS = ", ".join(f"{head} {threshold:g}" for head, threshold in THRESHOLDS.items())


def filter_episodes(
    data: Annotated[
        Path, typer.Argument(metavar="DATA_SET", help="A data set of recorded episodes.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the kept episodes go, in its layout.")
    ],
    heads: Annotated[
        str, typer.Option(help=f"Which heads, with commas in between: {', '.join(THRESHOLDS)}.")
    ] = "completion",
    last: Annotated[
        int, typer.Option(min=1, help="Score so many frames at each episode's end.")
    ] = 3,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[HEAD=]X",
            help="Keep from this mean score on; for all heads, or repeated for each. "
            f"Else {_DEFAULTS}.",
        ),
    ] = None,
    agree: Annotated[
        Agree, typer.Option(help="Whether all heads must find the episode finished, or any.")
    ] = Agree.ALL,
    readout: Annotated[
        Readout | None, typer.Option(help="How the answer is read; else the checkpoint's default.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Whose frames, where the data set has several cameras.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    token: TokenOption = None,
    local: Annotated[
        bool, typer.Option("--local", help="Start a server of its own while this runs.")
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="What the server of its own serves; implies --local."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Most questions in one request.")] = 128,
) -> None:
    """Keep the episodes whose end a model judges finished; print precision and recall.

    The folder gets the kept episodes with their scores, decisions.parquet with one row for every
    episode, and filter.json. An episode whose frames could not be scored is not kept, and is listed
    with the cause. The exit status is 1 when there was such an episode, or none was kept.
    """
    from lrm_server.commands.filter_run import FilterOptions, run_filter

    try:
        asked = tuple(dict.fromkeys(part.strip() for part in heads.split(",") if part.strip()))
        criterion = Criterion(thresholds_of(asked, threshold or ()), last, agree, readout)
        options = FilterOptions(data, out, criterion, camera, batch)
        choice = ServerChoice(server, token, local or checkpoint is not None, checkpoint)
    except ValueError as error:
        raise wrong(str(error)) from error
    try:
        status = run_filter(choice, options)
    except RecordingError as error:
        raise wrong(str(error)) from error
    except (NoServerError, LocalServerError, LrmError, OSError, ValueError) as error:
        raise failed(str(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(status)


def thresholds_of(heads: tuple[str, ...], given: tuple[str, ...] | list[str]) -> dict[str, float]:
    """Head -> threshold; a threshold that names its head wins over one that does not.

    Raises:
        ValueError: a threshold that is no number, or of a head that is not asked.
    """
    thresholds = {head: THRESHOLDS.get(head, 0.0) for head in heads}
    for item in sorted(given, key=lambda text: "=" in text):
        head, equals, number = item.rpartition("=")
        try:
            value = float(number)
        except ValueError as error:
            raise ValueError(f"--threshold {item}: {number!r} is no number") from error
        if equals and head not in thresholds:
            raise ValueError(f"--threshold {item}: {head!r} is not among --heads")
        thresholds.update({head: value} if equals else dict.fromkeys(heads, value))
    return thresholds
