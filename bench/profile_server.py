"""Where the server's time goes under a learner's load: microseconds of a query, by part.

``python -m bench.profile_server [--environments 64 320] [--encoding jpeg] [--stacks FOLDER]``

A server process answers a learner process while py-spy (of the ``dev`` extra) looks at the Python
stacks of the server and of the engine's core, which is its child. A sample belongs to the innermost
function that a part claims. What sleeps is not counted. Threads that run no Python (the matrix
products of the other core, the sockets of gRPC) have no stacks: beside the parts stands the
processor time of each process, as the system counts it, and the time that passed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from bench.learner import Load, own_process, step
from bench.machine import describe
from bench.profile_parts import SERVER, count_parts
from bench.services import end_when_told

SAMPLES_PER_SECOND: Final = 100
"""More would slow down what is measured."""
DUE_STEPS: Final = 5
"""Of an episode."""


@dataclass(frozen=True)
class Profile:
    """What was seen while a learner's steps were due.

    Attributes:
        environments: of the learner.
        queries: that were answered.
        seconds: that passed between a step's request and its reply.
        samples: (process, thread, part) -> samples that found it at work.
        cpu_seconds: process -> processor time over all that was sampled.
    """

    environments: int
    queries: int
    seconds: float
    samples: dict[tuple[str, str, str], int]
    cpu_seconds: dict[str, float]


@contextmanager
def sampled(pid: int, to: Path) -> Iterator[None]:
    """Has py-spy look at a process and its children while the block runs.

    Raises:
        RuntimeError: py-spy is not installed, or may not look.
    """
    # Beside this interpreter, where its environment is not activated.
    beside = shutil.which("py-spy", path=Path(sys.executable).parent)
    program = beside or shutil.which("py-spy")
    if program is None:
        raise RuntimeError("py-spy is not installed: pip install py-spy")
    command = [program, "record", "--pid", str(pid), "--subprocesses", "--threads", "--nonblocking"]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--format", "raw", "--output", str(to)]
    spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        # It writes what it has when it is interrupted.
        spy.send_signal(2)
        _, said = spy.communicate(timeout=60)
    if not to.exists():
        raise RuntimeError(f"py-spy saw nothing: {said[-500:]}")


def profile(
    learner: ProcessPoolExecutor, load: Load, pid: int, seconds: float, stacks: Path
) -> Profile:
    """Samples a server while a learner asks it again and again.

    Args:
        learner: where the load is made.
        load: an episode; every one that is asked has frames of its own.
        pid: the server's process.
        seconds: for how long.
        stacks: file that py-spy writes.
    """
    seeds = itertools.count(1_000_000 * load.environments, 1000)

    def ask() -> float:
        fresh = replace(load, seed=next(seeds))
        return sum(learner.submit(step, fresh).result().due)

    ask()
    before = _cpu_seconds(pid)
    until = time.monotonic() + seconds
    took: list[float] = []
    with sampled(pid, stacks):
        while time.monotonic() < until:
            took.append(ask())
    after = _cpu_seconds(pid)
    return Profile(
        environments=load.environments,
        queries=load.queries * load.due * len(took),
        seconds=sum(took),
        samples=dict(count_parts(stacks.read_text("utf-8"))),
        cpu_seconds={name: after[name] - before[name] for name in after},
    )


def _cpu_seconds(pid: int) -> dict[str, float]:
    """Process -> seconds of processor time that it has taken so far."""
    server = psutil.Process(pid)
    children = {" ".join(each.cmdline()): each for each in server.children(recursive=True)}
    times = {name: each.cpu_times() for name, each in {SERVER: server, **children}.items()}
    return {name: each.user + each.system for name, each in times.items()}


def show(profiles: list[Profile]) -> Table:
    """Microseconds of a query by part, a column for each number of environments."""
    table = Table(title="where the server's time goes, microseconds of a query")
    for title in ("process", "thread", "part"):
        table.add_column(title)
    for each in profiles:
        table.add_column(f"{each.environments} envs", justify="right")
    keys = {key for each in profiles for key in each.samples}
    order = sorted(
        keys,
        key=lambda key: (
            key[0],
            -sum(_total(each, key[:2]) for each in profiles),
            -sum(_micros(each, key) for each in profiles),
        ),
    )
    for thread, rows in itertools.groupby(order, key=lambda key: key[:2]):
        table.add_section()
        table.add_row(*thread, "all", *(f"{_total(each, thread):.0f}" for each in profiles))
        for key in rows:
            micros = [_micros(each, key) for each in profiles]
            if max(micros) >= 10:
                table.add_row("", "", key[2], *(f"{each:.0f}" for each in micros))
    table.add_section()
    for process in profiles[0].cpu_seconds:
        micros = [1e6 * each.cpu_seconds[process] / each.queries for each in profiles]
        if max(micros) >= 10:
            table.add_row(process, "", "processor time", *(f"{each:.0f}" for each in micros))
    table.add_row("", "", "passed", *(f"{1e6 * e.seconds / e.queries:.0f}" for e in profiles))
    return table


def _micros(found: Profile, key: tuple[str, str, str]) -> float:
    return 1e6 * found.samples.get(key, 0) / SAMPLES_PER_SECOND / found.queries


def _total(found: Profile, thread: tuple[str, str] | tuple[str, ...]) -> float:
    return sum(_micros(found, key) for key in found.samples if key[:2] == thread)


def as_json(found: Profile) -> dict[str, Any]:
    """The figures of a profile, in microseconds of a query."""
    parts = {" / ".join(key): round(_micros(found, key), 1) for key in sorted(found.samples)}
    return {
        "environments": found.environments,
        "queries": found.queries,
        "passed_us": 1e6 * found.seconds / found.queries,
        "cpu_us": {name: 1e6 * each / found.queries for name, each in found.cpu_seconds.items()},
        "parts_us": parts,
    }


def main() -> None:
    """The command line."""
    from lrm_server.commands.process import local_server

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, nargs="+", default=[64, 320])
    parser.add_argument("--heads", nargs="+", default=["progress"])
    parser.add_argument("--encoding", choices=("raw", "jpeg"), default="raw")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--stacks", type=Path, help="folder that py-spy's stacks are kept in")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    end_when_told()
    flags = [f"--model={args.model}", *(["--enforce-eager"] if args.eager else [])]
    with (
        tempfile.TemporaryDirectory() as folder,
        local_server(flags) as server,
        own_process() as learner,
    ):
        server.wait_until_ready()
        kept = args.stacks or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        profiles = [
            profile(
                learner,
                Load(
                    f"grpc://{server.grpc}",
                    count,
                    tuple(args.heads),
                    due=DUE_STEPS,
                    encoding=args.encoding,
                ),
                server.pid,
                args.seconds,
                kept / f"{count}.txt",
            )
            for count in args.environments
        ]
    console = Console(width=110)
    console.print(f"{describe()}; heads {', '.join(args.heads)}, {args.encoding} frames")
    console.print(show(profiles))
    if args.json is not None:
        rows = [as_json(each) for each in profiles]
        args.json.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
