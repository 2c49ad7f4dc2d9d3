"""How the cost of rewards grows: with environments, frame size, heads per frame and adapters.

``python -m bench.growth [--quick] [--plots bench/plots] [--json FILE]``

A learner process asks a server process; each figure is the best of some rounds of new frames. One
thing grows at a time, everything else is as it is with 64 environments, one head and frames of
128x128. Frames are sent in their size; a checkpoint shrinks those with more pixels than it takes
(the embedded one: 128x128), and beyond that a larger frame gives the model no more to do. Adapters
are made with random weights and put under the three heads one after the other; vLLM compiles no
model that has adapters, so that the point without any stands there eager too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console
from rich.table import Table

from bench.growth_plots import draw
from bench.learner import Load, Took, own_process, step
from bench.machine import describe
from bench.services import end_when_told
from lrm_server.checkpoint import find_manifest
from lrm_server.commands.process import local_server
from lrm_server.config import Settings
from lrm_server.engine.checkpoint_files import locate

PLOTS: Final = Path(__file__).parent / "plots"
HEADS: Final = ("contrastive", "progress", "completion")
ENVIRONMENTS: Final = (1, 4, 16, 64, 160, 320)
SIDES: Final = (64, 128, 224, 256, 320, 448)
ASKED: Final = {
    "progress": ("progress",),
    "contrastive": ("contrastive",),
    "contrastive, swap": ("contrastive",),
    "progress, completion": ("progress", "completion"),
    "all three": HEADS,
    "tri": ("tri",),
}
"""What is asked about one frame -> heads."""
USUAL: Final = 64
ONE: Final = Load("", USUAL, ("progress",))
ALL: Final = replace(ONE, heads=HEADS)
QUERIES_PER_ROUND: Final = 128
EAGER: Final = "0, eager"


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        question: what grows.
        at: how far it has grown.
        frames_per_s: frames of environments that got all their rewards, per second.
        rewards_per_s: rewards, one for each head and frame.
    """

    question: str
    at: str
    frames_per_s: float
    rewards_per_s: float


class Growth:
    """Asks one server.

    Args:
        learner: where the load is made.
        target: the server.
        rounds: of each point.
    """

    _seeds = itertools.count(0, 10_000)

    def __init__(self, learner: ProcessPoolExecutor, target: str, rounds: int) -> None:
        self._learner = learner
        self._target = target
        self._rounds = rounds

    def point(self, question: str, at: object, load: Load) -> Point:
        """Measures one point.

        Args:
            question: what grows.
            at: how far it has.
            load: what is asked; its target, due steps and seed are given here.
        """
        due = 1 + max(2, QUERIES_PER_ROUND // load.environments)
        load = replace(load, target=self._target, due=due)
        # The first warms up for these sizes.
        self._take(replace(load, due=1))
        seconds = min(statistics.mean(self._take(load).steady) for _ in range(self._rounds))
        return Point(question, str(at), load.environments / seconds, load.queries / seconds)

    def _take(self, load: Load) -> Took:
        return self._learner.submit(step, replace(load, seed=next(self._seeds))).result()


def grow(growth: Growth, *, quick: bool) -> Iterator[Point]:
    """Everything that one server without adapters can be asked."""
    for count in ENVIRONMENTS[::2] if quick else ENVIRONMENTS:
        yield growth.point("environments", count, replace(ONE, environments=count))
    for side in SIDES[::2] if quick else SIDES:
        # Large frames take long.
        yield growth.point("frame size", side, replace(ONE, environments=USUAL // 4, side=side))
    for at, heads in ASKED.items():
        asked = replace(ONE, heads=heads, swap="swap" in at)
        yield growth.point("heads per frame", at, asked)
    yield growth.point("adapters", 0, ALL)


@contextmanager
def manifest_with_adapters(model: str, count: int) -> Iterator[Path]:
    """The checkpoint's manifest, the first heads of it on adapters of their own."""
    # Beside the tests, as they make the same.
    from tests.engine.lora import make_adapter

    checkpoint = locate(model)
    manifest, _ = find_manifest(Settings(model=model), checkpoint)
    heads = {
        name: {
            **manifest.heads[name].model_dump(mode="json", exclude_none=True),
            **({"adapter": name} if at < count else {}),
        }
        for at, name in enumerate(HEADS)
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        adapters = {
            head: str(make_adapter(folder / head, checkpoint, seed))
            for seed, head in enumerate(HEADS[:count], 1)
        }
        written = {"id": manifest.id, "heads": heads, "adapters": adapters}
        (folder / "lrm.yaml").write_text(yaml.safe_dump(written))
        yield folder / "lrm.yaml"


def measure(args: argparse.Namespace) -> Iterator[Point]:
    """Every question."""
    eager = ["--enforce-eager"] if args.eager else []
    with own_process() as learner:
        with local_server([f"--model={args.model}", *eager]) as server:
            server.wait_until_ready()
            growth = Growth(learner, f"grpc://{server.grpc}", args.rounds)
            yield from grow(growth, quick=args.quick)
        for count in args.adapters:
            with manifest_with_adapters(args.model, count) as manifest:
                flags = [f"--model={args.model}", f"--manifest={manifest}", "--enforce-eager"]
                with local_server(flags) as server:
                    server.wait_until_ready()
                    growth = Growth(learner, f"grpc://{server.grpc}", args.rounds)
                    yield growth.point("adapters", count or EAGER, ALL)


def show(points: Sequence[Point]) -> Table:
    """The points as a table."""
    table = Table(title="how the cost grows")
    table.add_column("what grows")
    table.add_column("to", justify="right")
    for title in ("frames/s", "rewards/s", "ms a reward"):
        table.add_column(title, justify="right")
    for question, those in itertools.groupby(points, key=lambda point: point.question):
        table.add_section()
        for at, point in enumerate(those):
            table.add_row(
                "" if at else question,
                point.at,
                f"{point.frames_per_s:.1f}",
                f"{point.rewards_per_s:.1f}",
                f"{1000 / point.rewards_per_s:.2f}",
            )
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--adapters", type=int, nargs="+", choices=range(4), default=[0, 1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="fewer environments and sizes")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--plots", type=Path, help="folder that plots are drawn into")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    end_when_told()
    points: list[Point] = []
    try:
        points.extend(measure(args))
    finally:
        # Of a run that was ended, what it has found.
        report(points, args)


def report(points: Sequence[Point], args: argparse.Namespace) -> None:
    """Prints the points, draws them, and writes them into a file."""
    console = Console(width=110)
    console.print(describe(), highlight=False)
    console.print(show(points))
    if args.plots is not None:
        draw(points, describe(), args.plots)
    if args.json is not None:
        figures = {"machine": describe(), "points": [asdict(point) for point in points]}
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
