"""The command line: reads arguments, calls what does the work, says what went wrong."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lrm_client import LrmError, Readout, Use, __version__
from lrm_server.commands.audit import EPILOG as AUDIT_EPILOG
from lrm_server.commands.audit import audit
from lrm_server.commands.bench import bench
from lrm_server.commands.connection import DEFAULT_SERVER, NoServerError, ServerChoice, connect
from lrm_server.commands.eval import evaluate
from lrm_server.commands.filter import filter_episodes
from lrm_server.commands.flags import takes_settings
from lrm_server.commands.options import (
    INTERRUPTED,
    ServerOption,
    TokenOption,
    failed,
    wrong,
)
from lrm_server.commands.process import LocalServerError
from lrm_server.commands.record import record
from lrm_server.config import WrongSettingsError, settings_from
from lrm_server.main import INSTALL
from lrm_server.media.reading import MediaError, Sampling

app = typer.Typer(
    name="lrm",
    help="Robot reward models: frames and a task in, rewards out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"lrm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Robot reward models: frames and a task in, rewards out."""


@app.command(
    epilog="Each flag is also a variable (--http-port is LRM_HTTP_PORT) and a key of the settings "
    "file (http_port). Flags win over variables, and variables over the file. "
    "LRM_ADAPTERS holds a JSON object. Several engines in one server are the file's (engines)."
)
@takes_settings
def serve(
    *,
    flags: dict[str, object],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings as YAML, one `name: value` each.")
    ] = None,
) -> None:
    """Serve a checkpoint over gRPC and HTTP until SIGTERM."""
    try:
        settings = settings_from(flags, config)
        settings.secret()
    except WrongSettingsError as error:
        raise wrong(*error.problems) from error
    except (OSError, ValueError) as error:
        raise wrong(f"token_file: {error}") from error
    on_vllm = any(engine.backend == "vllm" for engine in settings.each_engine().values())
    if on_vllm and find_spec("vllm") is None:
        raise failed(f"vllm is not installed. Install the server: {INSTALL}")
    from lrm_server.app import serve as run_server
    from lrm_server.ops.logging import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    raise typer.Exit(run_server(settings))


@app.command()
def models(
    server: ServerOption = DEFAULT_SERVER,
    token: TokenOption = None,
) -> None:
    """List what a running server serves: heads, labels, readouts, limits."""
    from lrm_server.commands.consoles import table_console
    from lrm_server.commands.models import show_models

    try:
        with connect(ServerChoice(server, token)) as client:
            show_models(client.models(), table_console())
    except (NoServerError, LrmError, ValueError) as error:
        raise failed(str(error)) from error


@app.command()
def score(
    source: Annotated[
        Path, typer.Argument(metavar="VIDEO_OR_FOLDER", help="A video, or a folder of PNG or JPEG.")
    ],
    task: Annotated[str, typer.Option(help="The task in words.")],
    head: Annotated[
        list[str] | None, typer.Option(help="Head to ask; repeat for several. progress if none.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    token: TokenOption = None,
    local: Annotated[
        bool, typer.Option("--local", help="Start a server of its own while this runs.")
    ] = False,
    every: Annotated[int | None, typer.Option(min=1, help="Take every Nth frame.")] = None,
    fps: Annotated[
        float | None, typer.Option(help="Take so many frames a second; videos only.")
    ] = None,
    interval: Annotated[
        int,
        typer.Option(
            min=1,
            help="Ask at every Kth of the frames taken and hold in between; contrastive compares "
            "with the frame asked before.",
        ),
    ] = 1,
    swap: Annotated[
        bool, typer.Option("--swap", help="Contrastive: ask in both orders and average.")
    ] = False,
    use: Annotated[Use | None, typer.Option(help="Which number becomes the value.")] = None,
    readout: Annotated[
        Readout | None, typer.Option(help="How the answer is read; else the checkpoint's default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Results: .jsonl or .parquet; else lines on stdout."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the values over time.")
    ] = None,
) -> None:
    """Score a video or a folder of frames with a running server.

    One result a frame and head. A frame that fails is a result with an error and no value; the exit
    status is then 1.
    """
    from lrm_server.commands.score import Scoring, score_media

    try:
        sampling = Sampling(every, fps)
        scoring = Scoring(
            task=task,
            heads=tuple(head or ["progress"]),
            interval=interval,
            swap=swap,
            use=use,
            readout=readout,
        )
        with connect(ServerChoice(server, token, local)) as client:
            failures = score_media(client, source, sampling, scoring, out, plot)
    except MediaError as error:
        raise wrong(str(error)) from error
    except (NoServerError, LocalServerError, LrmError, ValueError) as error:
        raise failed(str(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(1 if failures else 0)


app.command()(record)
app.command(epilog=AUDIT_EPILOG)(audit)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(metavar="FILE.png", help="Where the plot is written.")
    ] = Path("lrm-demo.png"),
    interval: Annotated[int, typer.Option(min=1, help="Ask every K steps; hold in between.")] = 10,
) -> None:
    """Serve the embedded checkpoint, score the bundled rollouts, print and plot the rewards."""
    from lrm_server.demo.run import DemoError, run_demo

    try:
        status = run_demo(out, interval)
    except (DemoError, LocalServerError, LrmError) as error:
        raise failed(str(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(status)


app.command("eval")(evaluate)
app.command("filter")(filter_episodes)
app.add_typer(bench)
