"""How much of the scoring a rollout hides: steps per second without rewards, blocking, submitted.

``python -m bench.rollout [--environments 16] [--heads progress] [--ratios 0.5 1 2] [--json FILE]``

Three rollouts are taken in turn, in one run, on the same server, which is a process of its own:
without rewards, with rewards that every due step waits for (``step``), and with ``submit`` at every
step and one ``gather`` at the end. All three step and render the same. Their seconds are t1, t2 and
t3; scoring took t2 - t1 while the rollout waited for it, and the share of it that is hidden is
1 - (t3 - t1) / (t2 - t1). No more can be hidden than there is stepping to hide it behind, and the
last due step's scoring has nothing behind it: of d due steps at most (d - 1) / d.

On a machine without an accelerator the engine gets all cores but one and the rollout gets that one;
otherwise the two would take the cores from each other, and the figures would say little.

``--simulator PushCube-v1`` steps ManiSkill's environments. They cannot be installed beside a CPU
build of vLLM: start ``taskset -c 0 lrm serve`` from the server's environment and name it by
``--target``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.learner import TASK
from bench.stepping import Environments, ManiSkillEnvironments, SimulatedEnvironments
from lrm_client import RewardClient, VectorEpisodes

MODES = ("without", "blocking", "submitted")


@dataclass(frozen=True)
class Plan:
    """What every rollout does.

    Attributes:
        environments: N.
        heads: which heads are asked.
        interval: K.
        steps: T.
        rounds: how often each kind of rollout is taken.
    """

    environments: int
    heads: tuple[str, ...]
    interval: int
    steps: int
    rounds: int


@dataclass(frozen=True)
class Row:
    """The figures of one cost of stepping; times are medians over the rounds, in seconds.

    Attributes:
        without: a rollout without rewards, t1.
        blocking: with rewards that are waited for, t2.
        submitted: with rewards that are gathered at the end, t3.
        stepping: of K steps of all environments, their rendering included.
        scoring: of one due step of all environments.
        hidden: share of the scoring that submitting hides; NaN where waiting for it took no
            longer than not asking.
    """

    without: float
    blocking: float
    submitted: float
    stepping: float
    scoring: float
    hidden: float


class Bench:
    """Takes rollouts, each on frames that were not seen before."""

    def __init__(self, client: RewardClient, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        self._seed = 0

    def rollout(self, mode: str, environments: Environments) -> float:
        """Seconds of one rollout.

        Raises:
            RuntimeError: a reward is not valid.
        """
        plan = self._plan
        self._seed += 1000
        environments.reset(self._seed)
        everyone = np.arange(plan.environments)
        with self._client.vector_episodes(
            plan.environments, TASK, plan.heads, interval=plan.interval, failure="mask"
        ) as episodes:
            episodes.reset(environments.render(everyone))
            began = time.perf_counter()
            valid = self._take(mode, environments, episodes)
            seconds = time.perf_counter() - began
        if not valid:
            raise RuntimeError(f"a rollout ({mode}) has rewards that are not valid")
        return seconds

    def row(self, environments: Environments) -> Row:
        """The figures of all three kinds, which take turns in going first."""
        taken: dict[str, list[float]] = {mode: [] for mode in MODES}
        for turn in range(self._plan.rounds):
            first = turn % len(MODES)
            for mode in MODES[first:] + MODES[:first]:
                taken[mode].append(self.rollout(mode, environments))
        without, blocking, submitted = (statistics.median(taken[mode]) for mode in MODES)
        due, scoring = self._plan.steps // self._plan.interval, blocking - without
        hidden = 1 - (submitted - without) / scoring if scoring > 0 else math.nan
        return Row(without, blocking, submitted, without / due, scoring / due, hidden)

    def _take(self, mode: str, environments: Environments, episodes: VectorEpisodes) -> bool:
        """All steps; whether every reward is valid."""
        plan, valid = self._plan, True
        everyone, handles = np.arange(plan.environments), []
        for step in range(1, plan.steps + 1):
            environments.step()
            if mode == "submitted":
                handles.append(episodes.submit(environments.render))
            elif mode == "blocking":
                valid &= bool(episodes.step(environments.render).valid.all())
            elif step % plan.interval == 0:
                environments.render(everyone)
        return valid and (not handles or bool(episodes.gather(handles).valid.all()))


def measure(args: argparse.Namespace, target: str) -> list[Row]:
    """One row for each cost of stepping."""
    plan = Plan(args.environments, tuple(args.heads), args.interval, args.steps, args.rounds)
    with RewardClient(target, timeout=120.0) as client:
        bench = Bench(client, plan)
        if args.simulator:
            simulator = ManiSkillEnvironments(args.simulator, plan.environments, plan.steps)
            bench.rollout("blocking", simulator)
            return [bench.row(simulator)]
        idle = SimulatedEnvironments(plan.environments, 0.0)
        bench.rollout("blocking", idle)
        scoring = bench.rollout("blocking", idle) / plan.steps
        costs = [cost / 1000 for cost in args.step_ms or ()]
        costs = costs or [ratio * scoring for ratio in args.ratios]
        return [bench.row(SimulatedEnvironments(plan.environments, cost)) for cost in costs]


@contextmanager
def served(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """A server's address, and in words how the cores are shared out."""
    cores = machine.usable_cores()
    if args.target:
        yield args.target, f"server {args.target}"
        return
    # Of the server's environment, which that of a simulator is not.
    from lrm_server.commands.process import local_server

    rollout, engine = cores[-1:], cores[:-1] or cores
    machine.use_cores(engine)
    flags = [f"--model={args.model}", *(["--enforce-eager"] if args.eager else [])]
    with local_server(flags) as server:
        server.wait_until_ready()
        machine.use_cores(rollout)
        try:
            yield f"grpc://{server.grpc}", f"engine on cores {engine}, rollout on {rollout}"
        finally:
            machine.use_cores(cores)


def show(rows: list[Row], args: argparse.Namespace) -> Table:
    """The figures as a table."""
    many, steps = args.environments, args.environments * args.steps
    stepped, heads = args.simulator or "simulated work", ", ".join(args.heads)
    table = Table(title=f"{many} environments of {stepped}, heads {heads}, K = {args.interval}")
    columns: dict[str, Callable[[Row], str]] = {
        "stepping K, s": lambda row: f"{row.stepping:.3f}",
        "scoring, s": lambda row: f"{row.scoring:.3f}",
        "stepping/scoring": lambda row: f"{row.stepping / row.scoring:.2f}",
        "steps/s without": lambda row: f"{steps / row.without:.0f}",
        "blocking": lambda row: f"{steps / row.blocking:.0f}",
        "submitted": lambda row: f"{steps / row.submitted:.0f}",
        "hidden": lambda row: f"{row.hidden:.0%}",
    }
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(form(row) for form in columns.values()))
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=16)
    parser.add_argument("--heads", nargs="+", default=["progress"])
    parser.add_argument("--interval", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100, help="of one rollout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--ratios",
        type=float,
        nargs="+",
        default=[0.5, 1.0, 1.5, 3.0],
        help="stepping K times over scoring once, where no cost is named",
    )
    parser.add_argument("--step-ms", type=float, nargs="+", help="of all environments' one step")
    parser.add_argument("--simulator", help="a ManiSkill environment in place of simulated work")
    parser.add_argument("--target", help="a server that runs already")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    where = machine.describe()
    with served(args) as (target, shared):
        rows = measure(args, target)
    console = Console(width=110)
    console.print(f"{where}; {shared}", highlight=False)
    console.print(show(rows, args))
    if args.json is not None:
        figures = {"machine": where, "shared": shared, "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
