"""``lrm record``: episodes of a Gymnasium environment as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lrm_server.commands.options import INTERRUPTED, failed, wrong
from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.layouts import Layout
from lrm_server.recordings.recorder import RENDER


def record(
    env_id: Annotated[str, typer.Argument(help="A Gymnasium environment, as PickCube-v1.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    task: Annotated[str, typer.Option(help="The task in words.")],
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    policy: Annotated[
        str,
        typer.Option(
            help="random, or module:function, which is called with the environment and gives "
            "act(observation)."
        ),
    ] = "random",
    camera: Annotated[
        str,
        typer.Option(
            help="render, or a picture in the observation: observation/KEY/KEY, or observation."
        ),
    ] = RENDER,
    every: Annotated[
        int, typer.Option(min=1, help="Keep the frame of every Nth step, and of the last.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of the first episode; then one more each.")] = 0,
    layout: Annotated[
        Layout,
        typer.Option(help="Plain folders, or LeRobot's: as video, or as images without loss."),
    ] = Layout.FOLDERS,
    max_steps: Annotated[
        int, typer.Option(min=1, help="End an episode here that has not ended by itself.")
    ] = 1000,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Import this first: mani_skill.envs."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--env-option", metavar="NAME=VALUE", help="For the environment; the value as JSON."
        ),
    ] = None,
) -> None:
    """Record episodes of a Gymnasium environment, to be scored, judged or filtered.

    Success is what the environment's info says under success or is_success.
    """
    # Imported here: reading and writing data sets takes a second to load.
    from lrm_server.commands.recording import Recording, record_data_set

    try:
        summary = record_data_set(
            Recording(
                env_id=env_id,
                task=task,
                episodes=episodes,
                policy=policy,
                camera=camera,
                every=every,
                seed=seed,
                longest=max_steps,
                imports=tuple(imports or ()),
                options=tuple(options or ()),
            ),
            out,
            layout,
        )
    except RecordingError as error:
        raise wrong(str(error)) from error
    except OSError as error:
        raise failed(
            f"{error.filename or out}: {error.strerror}" if error.strerror else str(error)
        ) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(summary)
