"""Rewards per second of the drop-in LRM paths, beside the service that they stand in for.

``python -m bench.compat_lrm [--callers 1 16 64] [--heads contrastive progress completion]``

One checkpoint, one machine, the same requests: a plain service that writes each answer with
transformers' ``generate`` behind a lock (``bench.generate_service``), and lrm under /compat/lrm,
once as its checkpoint is served (the label is read, nothing is written) and once writing every
answer as the plain service does, which shows what batching alone does. The services take turns;
one that is not asked does nothing. Every frame is new to every service.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from bench.learner import TASK
from bench.machine import describe
from bench.scene import frames
from bench.services import free_port, plain_service, running, wait_until_ready
from lrm_server.checkpoint import find_manifest
from lrm_server.config import Settings
from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.environment import prepare_environment
from lrm_server.heads.profile import Readout

PATHS = {
    "contrastive": ("compute_comparison", ("image_a", "image_b")),
    "progress": ("compute_reward", ("image", "initial_image")),
    "completion": ("compute_completion", ("image",)),
}
"""Head -> path, and the fields of its images."""
PLAIN, READING, WRITING = "plain", "lrm", "lrm writing"
"""The services: transformers' generate; lrm as it is served; lrm that writes its answers."""
LONGEST_ANSWER_SECONDS = 600.0


@dataclass(frozen=True)
class Measured:
    """What a service did with the requests of one round.

    Attributes:
        seconds: from the first request to the last reply.
        scores: of each request; None where it failed.
        texts: what was written, or would have been.
        tokens: how many were written, where the service says so.
    """

    seconds: float
    scores: list[float | None]
    texts: list[str]
    tokens: list[int]


def bodies(head: str, count: int, seed: int, **more: Any) -> list[bytes]:
    """So many requests of a head, as LRM's client encodes them, with further fields."""
    _, fields = PATHS[head]
    shown = [frames(count, seed + at) for at in range(len(fields))]
    return [_body(fields, [each[at] for each in shown], more) for at in range(count)]


def _body(
    fields: Sequence[str], images: Sequence[np.ndarray[Any, Any]], more: dict[str, Any]
) -> bytes:
    body: dict[str, Any] = {"task_description": TASK, "reward_type": "progress", **more}
    for field, image in zip(fields, images, strict=True):
        body[field] = base64.b64encode(image.tobytes()).decode()
        body[f"{field}_shape"] = list(image.shape)
        body[f"{field}_dtype"] = str(image.dtype)
    return json.dumps(body).encode()


def measure(base: str, head: str, requests: Sequence[bytes], callers: int) -> Measured:
    """Sends requests from so many callers, each of whom waits for a reply before the next."""
    path = f"{base}/{PATHS[head][0]}"
    limits = httpx.Limits(max_connections=callers)
    headers = {"content-type": "application/json"}
    with (
        httpx.Client(timeout=LONGEST_ANSWER_SECONDS, limits=limits, headers=headers) as http,
        ThreadPoolExecutor(callers) as pool,
    ):
        began = time.perf_counter()
        replies = list(pool.map(lambda body: http.post(path, content=body).json(), requests))
        seconds = time.perf_counter() - began
    return Measured(
        seconds,
        [reply.get("score") for reply in replies],
        [reply.get("response", reply.get("error", "")) for reply in replies],
        [reply["tokens"] for reply in replies if "tokens" in reply],
    )


def row(
    args: argparse.Namespace, services: dict[str, str], head: str, callers: int, tokenizer: Any
) -> dict[str, Any]:
    """One head at one number of callers, every service in turn, in rounds."""
    count = max(args.requests, callers)
    seconds = dict.fromkeys(services, 0.0)
    tokens: dict[str, list[int]] = {name: [] for name in services}
    failed = dict.fromkeys(services, 0)
    same = 0
    for turn in range(args.rounds):
        sent = bodies(head, count, seed=10_000 * callers + 100 * turn)
        found = {}
        names = list(services) if turn % 2 else list(reversed(services))
        for name in names:
            done = found[name] = measure(services[name], head, sent, callers)
            seconds[name] += done.seconds
            failed[name] += sum(score is None for score in done.scores)
            if name == WRITING:
                # The end of the turn is a token too.
                tokens[name] += [len(tokenizer(text)["input_ids"]) + 1 for text in done.texts]
            else:
                tokens[name] += done.tokens or [0] * len(done.texts)
        same += sum(
            plain is not None and plain == ours
            for plain, ours in zip(found[PLAIN].scores, found[READING].scores, strict=True)
        )
    asked = count * args.rounds
    rates = {name: (asked - failed[name]) / seconds[name] for name in services}
    return {
        "head": head,
        "callers": callers,
        "requests": asked,
        "rewards_per_s": rates,
        "times_plain": {name: rate / rates[PLAIN] for name, rate in rates.items()},
        "tokens_written": {name: float(np.mean(each)) for name, each in tokens.items()},
        "failed": failed,
        "same_score": same / asked,
    }


@contextmanager
def drop_in(model: str, eager: bool, readout: Readout | None) -> Iterator[str]:
    """Lrm's service; the address that LRM's clients take for theirs.

    Args:
        model: the checkpoint.
        eager: start sooner, without compiling.
        readout: of all heads; the checkpoint's own when None.
    """
    port = free_port()
    command = [sys.executable, "-m", "lrm_server.main", "serve", "--model", model]
    command += ["--http-port", str(port), "--grpc-port", "0", "--log-level", "error"]
    command += ["--request-timeout-seconds", str(LONGEST_ANSWER_SECONDS)]
    command += ["--enforce-eager"] if eager else []
    with ExitStack() as stack:
        if readout is not None:
            manifest = stack.enter_context(_manifest_that_reads(model, readout))
            command += ["--manifest", str(manifest)]
        process = stack.enter_context(running(command, quiet=True))
        base = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{base}/readyz", process)
        yield f"{base}/compat/lrm"


@contextmanager
def _manifest_that_reads(model: str, readout: Readout) -> Iterator[Path]:
    """The checkpoint's manifest, but that LRM's heads are read so; it has no canary."""
    settings = Settings(model=model)
    manifest, _ = find_manifest(settings, locate(model))
    heads = {
        name: entry.model_copy(update={"readout": readout}).model_dump(mode="json")
        for name, entry in manifest.heads.items()
        if name in PATHS
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lrm.yaml"
        path.write_text(yaml.safe_dump({"id": manifest.id, "heads": heads}))
        yield path


def show(rows: list[dict[str, Any]]) -> Table:
    """The figures as a table."""
    table = Table(title=f"rewards per second; {describe()}")
    names = list(rows[0]["rewards_per_s"])
    table.add_column("head")
    table.add_column("callers", justify="right")
    for name in names:
        table.add_column(f"{name}/s", justify="right", no_wrap=True)
        table.add_column("tokens", justify="right")
        if name != PLAIN:
            table.add_column("x plain", justify="right")
    table.add_column("same score", justify="right")
    table.add_column("failed", justify="right")
    for each in rows:
        cells = [each["head"], str(each["callers"])]
        for name in names:
            cells.append(f"{each['rewards_per_s'][name]:.1f}")
            cells.append(f"{each['tokens_written'][name]:.0f}")
            if name != PLAIN:
                cells.append(f"{each['times_plain'][name]:.1f}")
        cells += [f"{each['same_score']:.0%}", "/".join(str(n) for n in each["failed"].values())]
        table.add_row(*cells)
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--heads", nargs="+", choices=list(PATHS), default=list(PATHS))
    parser.add_argument("--requests", type=int, default=64, help="of a round, at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="embedded")
    parser.add_argument(
        "--writing",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also lrm that writes its answers, in an engine of its own",
    )
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    prepare_environment()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(locate(args.model))
    with ExitStack() as stack:
        services = {
            PLAIN: stack.enter_context(plain_service(args.model)),
            READING: stack.enter_context(drop_in(args.model, args.eager, None)),
        }
        if args.writing:
            service = drop_in(args.model, args.eager, Readout.GENERATE)
            services[WRITING] = stack.enter_context(service)
        for head in args.heads:
            # The first requests of a service warm it up.
            for base in services.values():
                measure(base, head, bodies(head, 2, seed=1), 2)
        rows = [
            row(args, services, head, callers, tokenizer)
            for head in args.heads
            for callers in args.callers
        ]
    Console(width=130).print(show(rows))
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
