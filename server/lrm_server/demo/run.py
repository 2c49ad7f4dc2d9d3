"""``lrm demo``: start the server, score the rollouts, print, plot, stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lrm_client import RewardClient
from lrm_server.commands.consoles import table_console
from lrm_server.commands.process import local_server
from lrm_server.config import environment_without_settings
from lrm_server.demo.report import group_figures, ordered_pairs, rewards_table, summary_table
from lrm_server.demo.rollouts import bundled_rollouts
from lrm_server.demo.scoring import Scored, score_rollouts

TIMEOUT_SECONDS: Final = 120.0
RISING_TAU: Final = 0.5
"""Least rank correlation of progress with time that is called rising."""


class DemoError(Exception):
    """Some rewards failed, or the plot cannot be written."""


def run_demo(out: Path, interval: int) -> int:
    """Runs the demo and returns the exit status: 0 when progress tells successes from failures.

    Args:
        out: where the plot is written, as PNG.
        interval: K of the episodes.

    Raises:
        LocalServerError: the server did not start, or did not stop as it should.
        DemoError: a reward failed, or the plot cannot be written.
        LrmError: the server refuses the episodes.
    """
    console = table_console()
    if out.suffix != ".png":
        raise DemoError(f"--out {out} must end with .png")
    rollouts = bundled_rollouts()
    seconds: dict[str, float] = {}
    # Compiling so small a model gains nothing. Settings of another server that this shell may
    # hold are none of the demo's.
    arguments = ["--model=embedded", "--enforce-eager"]
    with local_server(arguments, environment_without_settings()) as server:
        with (
            console.status("Starting the server on the embedded checkpoint ..."),
            _timed(seconds, "start of the server"),
        ):
            server.wait_until_ready()
        console.print(
            f"Server ready: gRPC {server.grpc}, HTTP {server.http}. "
            f"Scoring {len(rollouts)} rollouts, asked every {interval} steps and held in between."
        )
        with (
            _timed(seconds, "scoring"),
            RewardClient(server.grpc, timeout=TIMEOUT_SECONDS) as client,
            _progress(console) as progress,
        ):
            bar = progress.add_task("steps", total=max(rollout.length for rollout in rollouts))
            scored = score_rollouts(client, rollouts, interval, lambda: progress.advance(bar))
        with _timed(seconds, "plot"):
            _plot(scored, interval, out)
        with _timed(seconds, "stop of the server"):
            server.stop()
    return _report(console, scored, seconds, out)


def _report(console: Console, scored: Scored, seconds: dict[str, float], out: Path) -> int:
    if scored.failures:
        rollout, step, head, error = scored.failures[0]
        raise DemoError(
            f"{len(scored.failures)} rewards failed; the first: {rollout}, step {step}, {head}: "
            f"{error.code}: {error}"
        )
    console.print(rewards_table(scored.traces))
    console.print(summary_table(scored.traces))
    successes = group_figures([t for t in scored.traces if t.rollout.success])
    failures = group_figures([t for t in scored.traces if not t.rollout.success])
    right, pairs = ordered_pairs(scored.traces)
    rises = successes.tau > RISING_TAU
    separates = rises and successes.final > failures.final
    console.print(
        f"Progress {'rises' if rises else 'does not rise'} on successes "
        f"(to {successes.final:.2f} on average) and ends at {failures.final:.2f} on failures; the "
        f"success ends higher in {right} of {pairs} pairs."
    )
    parts = ", ".join(f"{part} {taken:.1f} s" for part, taken in seconds.items())
    rate = scored.queries / seconds["scoring"]
    console.print(f"Time: {parts}; {scored.queries} rewards queried, {rate:.0f} a second.")
    console.print(f"Plot: {out.resolve()}", soft_wrap=True)
    return int(not separates)


def _plot(scored: Scored, interval: int, out: Path) -> None:
    # Imported here: matplotlib takes a second to load, in which the server could start.
    from lrm_server.demo.plot import plot_traces

    try:
        plot_traces(scored.traces, interval, out)
    except OSError as error:
        raise DemoError(f"cannot write the plot {out}: {error.strerror}") from error


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    seconds[part] = time.monotonic() - begin


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
