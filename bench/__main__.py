"""Runs the benchmarks one after the other and keeps their figures.

``python -m bench [--quick] [--only throughput robot] [--out out/bench]``

Each is a process of its own that prints its tables; figures go to ``OUT/NAME.json``, plots to
``OUT/plots``. ``bench/README.md`` says what each measures. Machines differ and neighbours disturb:
what a benchmark finds ends no run; one that breaks does not keep the others from theirs, and makes
the exit code 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.machine import describe
from bench.services import end_when_told
from lrm_server.commands.process import STOP_SECONDS


@dataclass(frozen=True)
class Benchmark:
    """One of them.

    Attributes:
        name: of its module.
        usual: its arguments.
        quick: instead, where there are some minutes for all of them.
        draws: whether it takes ``--plots``.
    """

    name: str
    usual: tuple[str, ...] = ()
    quick: tuple[str, ...] | None = ()
    draws: bool = False

    def command(self, out: Path, *, quick: bool) -> list[str]:
        """What runs it, its figures into a folder."""
        more = (self.quick if quick else self.usual) or ()
        plots = (f"--plots={out / 'plots'}",) if self.draws else ()
        module = (sys.executable, "-m", f"bench.{self.name}", f"--json={out / self.name}.json")
        return [*module, *plots, *more]


ALL: Final = (
    Benchmark(
        "throughput",
        quick=("--environments", "1", "64", "--heads", "progress", "--rounds=1", "--requests=2"),
    ),
    Benchmark("profile_server", quick=("--environments", "64", "--seconds=4")),
    Benchmark("robot", quick=("--seconds=8",)),
    Benchmark("growth", quick=None, draws=True),
)
"""In their order; None as quick arguments leaves one out of the quick run."""


def chosen(only: list[str], *, quick: bool) -> list[Benchmark]:
    """Those that are named, or all."""
    if only:
        return [each for each in ALL if each.name in only]
    return [each for each in ALL if not quick or each.quick is not None]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes in place of fifteen")
    parser.add_argument("--only", nargs="+", choices=[each.name for each in ALL], default=[])
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    args = parser.parse_args()
    end_when_told()
    args.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=120)
    console.print(describe(), highlight=False)
    failed = []
    for each in chosen(args.only, quick=args.quick):
        console.rule(f"bench.{each.name}")
        began = time.monotonic()
        returned = _ran(each.command(args.out, quick=args.quick))
        console.print(f"{time.monotonic() - began:.0f} s")
        if returned:
            failed.append(each.name)
    if failed:
        console.print(f"these broke: {', '.join(failed)}")
        sys.exit(1)


def _ran(command: list[str]) -> int:
    """The exit code. Who is interrupted leaves the benchmark the time to end its servers."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait(STOP_SECONDS)
        raise


if __name__ == "__main__":
    main()
