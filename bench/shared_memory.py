"""What handing frames to the server costs: raw, as JPEG, or in memory that both see.

``python -m bench.shared_memory [--frames 64 320] [--rounds 5] [--json FILE]``

A learner steps N environments over gRPC, each step being due, on a server that is a process of its
own and has a scorer that answers at once in the model's place. The three ways take turns on it, and
so do steps with frames of 8x8 pixels, which cost what a step costs beside its frames; that is taken
off. What is left is the frames' own: encoding, sending, hashing, decoding.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.learner import TASK
from bench.scene import Frames, frames
from lrm_client import FrameEncoder, RewardClient, VectorEpisodes
from lrm_server.app import Server
from lrm_server.config import Settings
from lrm_server.heads.query import Query, Reply
from lrm_server.ops.logging import configure_logging
from tests.scripted_scorer import ScriptedScorer

SIZES: Final = ((128, 128), (256, 256), (480, 640))
"""Height and width in pixels."""
WAYS: Final = ("raw", "jpeg", "shared")
SMALL: Final = (8, 8)
"""The smallest frame that a server takes."""


class AtOnce(ScriptedScorer):
    """Answers at once and keeps nothing."""

    async def score(self, query: Query) -> Reply:
        """The same for every query."""
        reply = await super().score(query)
        self.queries.clear()
        return reply


async def serve() -> None:
    """Serves until it is killed, and prints the port of gRPC."""
    configure_logging("warning")
    settings = Settings(http_port=0, grpc_port=0)
    async with Server(settings, AtOnce(lambda query: 1.0)) as server:
        print(server.grpc_port, flush=True)
        await asyncio.Event().wait()


@contextmanager
def server() -> Iterator[str]:
    """The target of a server that runs in a process of its own."""
    command = [sys.executable, "-m", "bench.shared_memory", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"127.0.0.1:{int(process.stdout.readline() if process.stdout else 0)}"
        finally:
            process.kill()


def pictures(count: int, height: int, width: int) -> Frames:
    """Different frames of any size, uint8 (count, height, width, 3)."""
    side = max(height, width)
    return np.stack([frames(1, seed, side)[0, :height, :width] for seed in range(count)])


def seconds(target: str, count: int, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Seconds of a step by way, and of one with small frames, each the median of its rounds."""
    shown = pictures(count, *size)
    with ExitStack() as stack:

        def episodes(**options: Any) -> VectorEpisodes:
            client = stack.enter_context(RewardClient(target, timeout=120.0, **options))
            vector = client.vector_episodes(count, TASK, ["completion"], interval=1)
            return stack.enter_context(vector)

        vectors = {
            "small": (episodes(), pictures(count, *SMALL)),
            "raw": (episodes(encoder=FrameEncoder("raw")), shown),
            "jpeg": (episodes(encoder=FrameEncoder("jpeg")), shown),
            "shared": (episodes(shared_memory=True), shown),
        }
        taken: dict[str, list[float]] = {way: [] for way in vectors}
        for vector, sent in vectors.values():
            vector.reset(sent)
            vector.step(sent)
        for _ in range(rounds):
            for way, (vector, sent) in vectors.items():
                began = time.perf_counter()
                vector.step(sent)
                taken[way].append(time.perf_counter() - began)
    return {way: statistics.median(each) for way, each in taken.items()}


def measure(target: str, counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """One row for each size and number of frames."""
    rows = []
    for size in SIZES:
        for count in counts:
            steps = seconds(target, count, size, rounds)
            own = {way: steps[way] - steps["small"] for way in WAYS}
            mib = count * size[0] * size[1] * 3 / 2**20
            rows.append({"size": size, "frames": count, "mib": mib, "step": steps, "own": own})
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows as a table."""
    shown = Table(title="Milliseconds of N frames on their way, beside what a step costs without")
    ways = ("raw", "JPEG", "shared")
    for name in ("pixels", "N", "MiB", "step", *ways, "raw/shared", "JPEG/shared"):
        shown.add_column(name, justify="right")
    for row in rows:
        own, (height, width) = row["own"], row["size"]
        shown.add_row(
            f"{width}x{height}",
            str(row["frames"]),
            f"{row['mib']:.0f}",
            f"{1000 * row['step']['small']:.0f}",
            *(f"{1000 * own[way]:.0f}" for way in WAYS),
            *(f"{own[way] / own['shared']:.1f}" for way in ("raw", "jpeg")),
        )
    return shown


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 320])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
        return
    with server() as target:
        rows = measure(target, args.frames, args.rounds)
    console = Console()
    console.print(f"{machine.describe()}; medians of {args.rounds} rounds")
    console.print(table(rows))
    if args.json is not None:
        told = {"machine": machine.describe(), "rounds": args.rounds, "rows": rows}
        args.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
