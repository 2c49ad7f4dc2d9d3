"""Rewards per second and latency through the client, beside the bare engine in the same run.

``python -m bench.throughput [--environments 1 16 64 320] [--heads progress] [--json FILE]``

One engine serves both. Each round runs an episode of N environments through the client (a process
of its own, gRPC, raw frames) and one of as many queries straight through ``AsyncLLM`` on frames
that were prepared beforehand; which comes first alternates. Every frame is new, so neither finds
the other's work in a cache. The overhead is (client - bare) / bare over all due steps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from bench.learner import Order, as_line
from lrm_server.app import Server
from lrm_server.checkpoint import find_manifest
from lrm_server.config import Settings
from lrm_server.engine.environment import prepare_environment
from lrm_server.heads.canary import warm_up
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import served_heads
from lrm_server.heads.scoring import HeadScorer


async def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each number of environments."""
    prepare_environment()
    # vLLM reads its environment when it is imported.
    from bench.bare_engine import BareEngine
    from lrm_server.engine.checkpoint_files import locate
    from lrm_server.engine.patches import read_preparation
    from lrm_server.engine.prompt_tokens import Tokenizer
    from lrm_server.engine.start import EngineOptions, open_engine

    checkpoint = locate(args.model)
    settings = Settings(http_port=0, grpc_port=0)
    options = EngineOptions(enforce_eager=args.eager)
    async with open_engine(checkpoint, {}, options) as (engine, llm):
        manifest, _ = find_manifest(settings, checkpoint)
        heads = served_heads(manifest, {})
        card = ModelCard(args.model, "", engine.fingerprint)
        scorer = HeadScorer(engine, HeadCatalogue(heads, card))
        await llm.prove(lambda: warm_up(scorer))
        vllm = llm.current()
        tokenizer = cast(Tokenizer, vllm.get_tokenizer())
        bare = BareEngine(vllm, tokenizer, read_preparation(checkpoint))
        async with Server(settings, scorer) as server:
            learner = _start_learner()
            try:
                return [
                    await _row(args, bare, learner, f"grpc://127.0.0.1:{server.grpc_port}", count)
                    for count in args.environments
                ]
            finally:
                learner.terminate()
                learner.wait(30)


async def _row(
    args: argparse.Namespace, bare: Any, learner: subprocess.Popen[str], target: str, count: int
) -> dict[str, Any]:
    order = Order(target, count, tuple(args.heads), args.interval, 3 * args.interval, seed=0)
    served: list[float] = []
    held: list[float] = []
    alone: list[float] = []
    # The first round warms both up for this batch size.
    for turn in range(args.rounds + 1):
        sides = ["served", "bare"] if turn % 2 else ["bare", "served"]
        for side in sides:
            fresh = replace(order, seed=100_000 * count + 1000 * turn + 500 * (side == "bare"))
            if side == "bare":
                found = await bare.run(fresh)
                alone += found if turn else []
            else:
                answer = await asyncio.to_thread(_tell, learner, fresh)
                served += answer["due"] if turn else []
                held += answer["held"] if turn else []
    queries = count * len(order.heads)
    return {
        "environments": count,
        "heads": list(order.heads),
        "interval": order.interval,
        "due_steps": len(served),
        "rewards_per_s": queries * order.interval * len(served) / (sum(served) + sum(held)),
        "queries_per_s": queries * len(served) / sum(served),
        "bare_queries_per_s": queries * len(alone) / sum(alone),
        "overhead": sum(served) / sum(alone) - 1.0,
        "due_ms_median": 1000 * statistics.median(served),
        "due_ms_worst": 1000 * max(served),
        "held_us_per_environment": 1e6 * statistics.median(held) / count,
    }


def _start_learner() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.learner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _tell(learner: subprocess.Popen[str], order: Order) -> dict[str, Any]:
    into, out = learner.stdin, learner.stdout
    if into is None or out is None:
        raise RuntimeError("the learner has no pipes")
    into.write(as_line(order))
    into.flush()
    line = out.readline()
    if not line:
        raise RuntimeError(f"the learner ended with {learner.wait(10)}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def show(rows: list[dict[str, Any]]) -> Table:
    """The figures as a table."""
    table = Table(title=f"heads {', '.join(rows[0]['heads'])}, K = {rows[0]['interval']}")
    columns = {
        "environments": ("envs", "{:d}"),
        "rewards_per_s": ("rewards/s", "{:.0f}"),
        "queries_per_s": ("queries/s", "{:.1f}"),
        "bare_queries_per_s": ("bare queries/s", "{:.1f}"),
        "overhead": ("overhead", "{:+.1%}"),
        "due_ms_median": ("due step ms", "{:.0f}"),
        "due_ms_worst": ("worst ms", "{:.0f}"),
        "held_us_per_environment": ("held step us/env", "{:.1f}"),
    }
    for title, _ in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(form.format(row[name]) for name, (_, form) in columns.items()))
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, nargs="+", default=[1, 16, 64, 320])
    parser.add_argument("--heads", nargs="+", default=["progress"])
    parser.add_argument("--interval", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    rows = asyncio.run(measure(args))
    Console(width=110).print(show(rows))
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
