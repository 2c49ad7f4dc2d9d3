"""What a server and a client hold: bytes for each episode, query, client, and the bounds on them.

``python -m bench.memory [--json FILE]``

Episodes and clients are weighed without a model (``bench.holding``). Queries in flight are weighed
on ``lrm serve`` with the embedded checkpoint: the highest resident memory of the server's process
and of its engine's while so many distinct frames of 128x128 are asked about at once, and the slope
over their number. The cache of prepared frames is first set small, so that it is no part of this,
and then weighed by filling it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.holding import (
    IdleEpisode,
    alone,
    client_environments,
    clients,
    idle_episodes,
    uniform_scorer,
)
from bench.learner import TASK
from bench.scene import frames
from lrm_client import LrmError, Query, RewardClient
from lrm_server.app import Server
from lrm_server.commands.process import LocalServer, local_server
from lrm_server.config import Settings, environment_without_settings
from lrm_server.frames import Encoding

KIB = 1024
MIB = 1024 * KIB
EPISODES = (
    (("progress",), Encoding.JPEG, 10),
    (("progress",), Encoding.RAW, 10),
    (("tri",), Encoding.JPEG, 10),
    (("tri",), Encoding.RAW, 10),
    (("progress",), Encoding.JPEG, 1),
    (("tri",), Encoding.JPEG, 1),
)
PREPARED_BYTES = 96 * KIB
"""Of a frame of 128x128: 64 patches of 1.5 KiB."""
CACHE_MIB = 64
BATCH = 64


@dataclass(frozen=True)
class InFlight:
    """Bytes for each query that is in, and what the processes take without any."""

    server: float
    engine: float
    server_idle: int
    engine_idle: int


@dataclass(frozen=True)
class Cache:
    """Growth of the server's process: its cache of prepared frames fills, and then runs over."""

    bound: int
    filled: int
    run_over: int


def weigh_clients() -> tuple[float, float]:
    """Bytes of a client, and of an environment of its vectorised episodes."""
    return asyncio.run(_weigh_clients())


async def _weigh_clients() -> tuple[float, float]:
    settings = Settings(http_port=0, grpc_port=0)
    async with Server(settings, uniform_scorer()) as server:
        target = f"grpc://127.0.0.1:{server.grpc_port}"
        return (
            await asyncio.to_thread(alone, clients, target),
            await asyncio.to_thread(alone, client_environments, target),
        )


def weigh_queries(counts: tuple[int, int]) -> tuple[InFlight, Mapping[str, float]]:
    """What queries in flight take, and the engine's room for keys and values."""
    with _serving("--frame-cache-mib=1") as (server, client):
        _ask(client, counts[0], seed=1)
        core = _engine_process(server)
        idle = _resident(server.pid), core.memory_info().rss
        peaks = []
        for seed, count in enumerate(counts, 2):
            with _Peaks(server.pid, core.pid) as peak:
                _ask(client, count, seed)
            peaks.append(peak.highest)
        (few_server, few_engine), (many_server, many_engine) = peaks
        more = counts[1] - counts[0]
        in_flight = InFlight(
            (many_server - few_server) / more, (many_engine - few_engine) / more, *idle
        )
        return in_flight, _room(server)


def weigh_cache() -> Cache:
    """Fills the cache of prepared frames, and then asks about twice as many more."""
    with _serving(f"--frame-cache-mib={CACHE_MIB}") as (server, client):
        batches = CACHE_MIB * MIB // PREPARED_BYTES // BATCH + 1
        # The first batch also makes the room that a batch takes on its way.
        for _ in range(3):
            _ask(client, BATCH, seed=1)
        before = _resident(server.pid)
        sizes = []
        for turn in (1, 2, 3):
            for number in range(batches):
                _ask(client, BATCH, seed=100 * turn + number)
            sizes.append(_resident(server.pid) - before)
        return Cache(CACHE_MIB * MIB, sizes[0], sizes[-1])


@contextmanager
def _serving(*flags: str) -> Iterator[tuple[LocalServer, RewardClient]]:
    arguments = ["--model=embedded", "--enforce-eager", *flags]
    with local_server(arguments, environment_without_settings()) as server:
        server.wait_until_ready()
        with RewardClient(server.grpc, timeout=300.0) as client:
            yield server, client
        server.stop()


def _ask(client: RewardClient, count: int, seed: int) -> None:
    queries = [Query("completion", TASK, current=image) for image in frames(count, seed)]
    for reply in client.score_batch(queries):
        if isinstance(reply, LrmError):
            raise reply


def _engine_process(server: LocalServer) -> psutil.Process:
    """The largest of the server's children."""
    children = psutil.Process(server.pid).children(recursive=True)
    return max(children, key=lambda child: child.memory_info().rss)


class _Peaks:
    """The highest resident memory of processes during a block."""

    def __init__(self, *pids: int) -> None:
        self.highest = [0] * len(pids)
        self._processes = [psutil.Process(pid) for pid in pids]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Peaks:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            for at, process in enumerate(self._processes):
                self.highest[at] = max(self.highest[at], process.memory_info().rss)


def _resident(pid: int) -> int:
    time.sleep(0.5)
    return int(psutil.Process(pid).memory_info().rss)


def _room(server: LocalServer) -> dict[str, float]:
    """Tokens and bytes of the engine's keys and values, as its metrics say."""
    with urllib.request.urlopen(f"{server.http}/metrics") as response:  # noqa: S310 - loopback
        text = response.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("lrm_engine_kv_cache_")
    }


def show(episodes: list[IdleEpisode], others: list[tuple[str, str]]) -> list[Table]:
    """The figures as tables."""
    first = Table(title="an idle episode, KiB", title_justify="left")
    for title in ("heads", "K", "128x128 as", "in all", "frames", "the rest", "opened again"):
        first.add_column(title, justify="left" if title == "heads" else "right")
    for row in episodes:
        sizes = (row.total, row.frames, row.total - row.frames, row.again)
        figures = (f"{size / KIB:.1f}" for size in sizes)
        first.add_row(row.heads, str(row.interval), row.encoding, *figures)
    second = Table(title="and beside them", title_justify="left")
    second.add_column("")
    second.add_column("", justify="right")
    for name, size in others:
        second.add_row(name, size)
    return [first, second]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, nargs=2, default=[256, 1024])
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    episodes = [alone(idle_episodes, *case) for case in EPISODES]
    client, environment = weigh_clients()
    in_flight, room = weigh_queries(tuple(args.queries))
    cache = weigh_cache()
    others = [
        ("a client, in its process", f"{client / KIB:.0f} KiB"),
        ("an environment of its vectorised episodes", f"{environment / KIB:.1f} KiB"),
        ("a query in flight, in the server", f"{in_flight.server / KIB:.0f} KiB"),
        ("a query in flight, in the engine", f"{in_flight.engine / KIB:.0f} KiB"),
        ("the server without any", f"{in_flight.server_idle / MIB:.0f} MiB"),
        ("the engine without any", f"{in_flight.engine_idle / MIB:.0f} MiB"),
        ("cache of prepared frames: bound", f"{cache.bound / MIB:.0f} MiB"),
        ("the server with it full", f"+{cache.filled / MIB:.0f} MiB"),
        ("and after twice as many frames more", f"+{cache.run_over / MIB:.0f} MiB"),
        *((name, f"{value:,.0f}") for name, value in room.items()),
    ]
    console = Console(width=100)
    console.print(machine.describe())
    for table in show(episodes, others):
        console.print(table)
    if args.json is not None:
        figures = {
            "machine": machine.describe(),
            "episodes": [asdict(row) for row in episodes],
            "client": client,
            "client_environment": environment,
            "in_flight": asdict(in_flight),
            "cache": asdict(cache),
            "kv_cache": room,
        }
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
