"""What a robot waits for its reward, alone and beside a learner.

``python -m bench.robot [--learner 320] [--seconds 30] [--json FILE]``

A robot at 10 Hz asks about every frame (interval 1) through ``RobotSession``, in a process of its
own. Its latency counts from when the loop hands a frame over to when a reading has that frame's
reward. It runs alone, beside a learner that asks without a pause, and alone again, on one server,
which is a process too. A step of the engine is not interrupted: its length, as vLLM's own metrics
have it for the requests beside the learner (from the begin of a request's first step to its token),
is what a robot may have to wait once more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from bench import goals
from bench.goals import Goal
from bench.learner import TASK, Load, keep_stepping, own_process
from bench.machine import describe
from bench.scene import frames
from bench.services import end_when_told
from lrm_client import RewardClient
from lrm_server.commands.process import local_server

RATE_HZ: Final = 10.0
TIMES_ALONE: Final = 2.0
"""What the worst percent beside a learner may take, a step of the engine aside."""
STEP_METRIC: Final = "vllm:request_prefill_time_seconds"
_POLL_SECONDS: Final = 0.001
_WARM_UP_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Observed:
    """What a robot saw.

    Attributes:
        latencies: seconds from a frame to its reward, of each that was answered.
        ticks: of its loop.
        failed: frames whose call failed.
        dropped: frames that gave way to a newer one, as a call was under way.
    """

    latencies: list[float]
    ticks: int
    failed: int
    dropped: int

    def percentile(self, share: float) -> float:
        """Milliseconds that so many percent of the latencies do not exceed; NaN without any."""
        return percentile_ms(self.latencies, share)


def percentile_ms(latencies: Sequence[float], share: float) -> float:
    """A percentile of seconds, in milliseconds; NaN of none.

    Args:
        latencies: seconds.
        share: percent, 0 to 100.
    """
    return float(1000 * np.percentile(latencies, share)) if latencies else float("nan")


def observe(target: str, head: str, seconds: float, seed: int) -> Observed:
    """Runs a robot's loop for so long; every frame is new.

    Args:
        target: the server.
        head: that it asks.
        seconds: of the loop.
        seed: of its frames.
    """
    ticks = round(seconds * RATE_HZ)
    shown = frames(ticks + 1, seed)
    latencies: list[float] = []
    with (
        RewardClient(target) as client,
        client.robot_session(TASK, [head], rate_hz=RATE_HZ, max_age_s=60.0) as session,
    ):
        session.reset(shown[0])
        known = None
        began = time.monotonic()
        for tick in range(1, ticks + 1):
            session.observe(shown[tick])
            while time.monotonic() < began + tick / RATE_HZ:
                reading = session.latest()
                if reading.fresh and reading.step != known and reading.age_s is not None:
                    known = reading.step
                    latencies.append(reading.age_s)
                time.sleep(_POLL_SECONDS)
        counters = session.counters
    return Observed(latencies, counters.ticks, counters.failed, counters.dropped)


def steps_of(metrics: str) -> tuple[float, float]:
    """Sum of seconds and number of the first steps of requests, from Prometheus' text."""
    found = {"sum": 0.0, "count": 0.0}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            for kind in found:
                if sample.name == f"{STEP_METRIC}_{kind}":
                    found[kind] += sample.value
    return found["sum"], found["count"]


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        alone: the robot before and after.
        beside: the robot while the learner asks.
        step_ms: of the engine while the learner asks, in the mean.
        learner_queries_per_s: what the learner got meanwhile, which includes its own pauses.
    """

    alone: Observed
    beside: Observed
    step_ms: float
    learner_queries_per_s: float

    def goals(self) -> list[Goal]:
        """The bound of the slowest percent."""
        bound = TIMES_ALONE * self.alone.percentile(99) + self.step_ms
        what = "p99 beside the learner, ms (2 x alone + a step)"
        return [Goal(what, self.beside.percentile(99), bound, at_least=False)]


def measure(args: argparse.Namespace, target: str, http: str) -> Figures:
    """The robot alone, beside the learner, alone.

    Args:
        args: of the command line.
        target: the server's address for clients.
        http: base URL of its metrics.
    """
    load = Load(target, args.learner, tuple(args.heads), due=2)
    with own_process() as robots, own_process() as learners:
        robots.submit(observe, target, args.head, _WARM_UP_SECONDS, 1).result()
        learners.submit(keep_stepping, load, 0.0).result()
        alone = _robot(robots, args, target, args.seconds / 2, 2)
        asking = learners.submit(keep_stepping, load, args.seconds + _WARM_UP_SECONDS)
        time.sleep(_WARM_UP_SECONDS)
        before = steps_of(httpx.get(f"{http}/metrics").text)
        beside = _robot(robots, args, target, args.seconds, 3)
        after = steps_of(httpx.get(f"{http}/metrics").text)
        taken = asking.result()
        again = _robot(robots, args, target, args.seconds / 2, 4)
    both = Observed(
        alone.latencies + again.latencies,
        alone.ticks + again.ticks,
        alone.failed + again.failed,
        alone.dropped + again.dropped,
    )
    due = [took.due for took in taken]
    return Figures(
        alone=both,
        beside=beside,
        step_ms=1000 * (after[0] - before[0]) / max(1.0, after[1] - before[1]),
        learner_queries_per_s=load.queries * sum(map(len, due)) / sum(map(sum, due)),
    )


def _robot(
    process: ProcessPoolExecutor, args: argparse.Namespace, target: str, seconds: float, seed: int
) -> Observed:
    return process.submit(observe, target, args.head, seconds, 1000 * seed).result()


def show(figures: Figures, learner: int) -> Table:
    """The latencies as a table."""
    table = Table(title=f"a robot at {RATE_HZ:g} Hz: milliseconds from a frame to its reward")
    table.add_column("")
    for title in ("p50", "p95", "p99", "worst", "answered", "dropped", "failed"):
        table.add_column(title, justify="right")
    for name, found in (
        ("alone", figures.alone),
        (f"beside a learner of {learner}", figures.beside),
    ):
        table.add_row(
            name,
            *(f"{found.percentile(share):.1f}" for share in (50, 95, 99, 100)),
            f"{len(found.latencies)}/{found.ticks}",
            str(found.dropped),
            str(found.failed),
        )
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learner", type=int, default=320, help="environments of the learner")
    parser.add_argument("--heads", nargs="+", default=["progress"], help="that the learner asks")
    parser.add_argument("--head", default="progress", help="that the robot asks")
    parser.add_argument("--seconds", type=float, default=30.0, help="alone, and beside the learner")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    end_when_told()
    flags = [f"--model={args.model}", *(["--enforce-eager"] if args.eager else [])]
    with local_server(flags) as server:
        server.wait_until_ready()
        figures = measure(args, f"grpc://{server.grpc}", server.http)
        server.stop()
    console = Console(width=120)
    console.print(describe(), highlight=False)
    console.print(show(figures, args.learner))
    console.print(
        f"a step of the engine took {figures.step_ms:.0f} ms; the learner got "
        f"{figures.learner_queries_per_s:.0f} queries/s"
    )
    console.print(goals.show(figures.goals()))
    if args.json is not None:
        figures_json = {"machine": describe(), **asdict(figures)}
        args.json.write_text(json.dumps(figures_json, indent=1) + "\n")


if __name__ == "__main__":
    main()
