"""What PPO makes of a cloned policy with each reward: LRM's result in small.

`python -m training.policies.compare_rewards --server-python PATH` starts a server, runs the learner
of client/examples with each reward and seed, and writes the table. Ended, it goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lrm_client import LrmError, RewardClient
from training.policies.refit_arms import paired_gain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXAMPLES: Final = Path(__file__).parents[2] / "client" / "examples"
CHECKPOINT: Final = Path("server/lrm_server/checkpoints/embedded")
HORIZON: Final = 50
DEMONSTRATIONS: Final = 60
# Name -> the learner's arguments.
ROWS: Final[Mapping[str, Sequence[str]]] = {
    "contrastive": ("--reward", "contrastive"),
    "progress": ("--reward", "progress"),
    "completion": ("--reward", "completion"),
    "tri": ("--reward", "tri"),
    "warm-up and self-certainty": ("--warmup-steps", "4000", "--certainty", "0.0001"),
    "environment": ("--reward", "environment"),
}
STARTS_WITHIN: Final = (0.3, 0.7)
READY_SECONDS: Final = 300


@contextlib.contextmanager
def served(server_python: Path, checkpoint: Path) -> Iterator[tuple[str, str]]:
    """A server of its own on loopback; its address and the id of what it serves.

    Raises:
        RuntimeError: it does not become ready.
    """
    grpc, http = (_free_port() for _ in range(2))
    command = [
        *(str(server_python), "-m", "lrm_server.main", "serve", "--enforce-eager"),
        *("--model", str(checkpoint), "--grpc-port", str(grpc), "--http-port", str(http)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{grpc}", _ready(f"127.0.0.1:{grpc}", process)
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _ready(address: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + READY_SECONDS
    with RewardClient(address, timeout=5) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(LrmError):
                served = client.models().models
                if served:
                    return served[0].id
            time.sleep(1)
    raise RuntimeError("the server did not become ready")


def run(script: str, *arguments: str) -> None:
    """Runs one of the examples in this interpreter's environment.

    Raises:
        CalledProcessError: it failed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLES / script), *arguments],
        check=True,
        env=environment,
    )


def missing(args: Any) -> Iterator[tuple[str, int, Path]]:
    """The runs still to make: every row of a seed before the next seed."""
    for seed in range(1, args.seeds + 1):
        for name in args.rows:
            folder = args.to / args.env_id / name.replace(" ", "_") / str(seed)
            if not (folder / "result.json").exists():
                yield name, seed, folder


def figures(root: Path, names: Sequence[str], seeds: int) -> dict[str, Any]:
    """What the runs under `root` came to, as JSON takes it; rows without a run are left out."""
    rows: dict[str, Any] = {}
    for name in names:
        folder = root / name.replace(" ", "_")
        files = [folder / str(seed) / "result.json" for seed in range(1, seeds + 1)]
        results = [json.loads(file.read_text()) for file in files if file.exists()]
        if not results:
            continue
        start = np.array([result["success"]["0"] for result in results], bool)
        end = np.array([_last(result["success"]) for result in results], bool)
        gain = paired_gain(end, start)
        rates = end.mean(axis=1)
        rows[name] = {
            "start": round(float(start.mean()), 4),
            "rates": [round(float(rate), 4) for rate in rates],
            "mean": round(float(rates.mean()), 4),
            "spread": round(float(rates.std(ddof=1)), 4) if len(rates) > 1 else None,
            "gain": [round(value, 4) for value in (gain.mean, gain.low, gain.high)],
            "queries": [result["queries"] for result in results],
            "steps": [result["steps"] for result in results],
            "episodes": int(start.shape[1]),
        }
    return rows


def _last(success: Mapping[str, list[bool]]) -> list[bool]:
    return success[max(success, key=int)]


def as_markdown(env_id: str, model: str, rows: Mapping[str, Any], arguments: str) -> str:
    """The table of one environment."""
    first = next(iter(rows.values()))
    lines = [
        f"## {env_id}",
        "",
        f"Rewards of `{model}`. The cloned start succeeds in {first['start']:.0%} of "
        f"{first['episodes']} evaluation episodes; a gain is over it. {arguments}".rstrip(),
        "",
        "| reward | runs | success, mean | spread | gain [95 % interval] | queries |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        mean, low, high = (100 * value for value in row["gain"])
        spread = "-" if row["spread"] is None else f"{row['spread']:.1%}"
        lines.append(
            f"| {name} | {len(row['rates'])} | {row['mean']:.1%} | {spread} | "
            f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}] | {np.mean(row['queries']):,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-id", default="PushCube-v1")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--server-python", type=Path, required=True, help="where lrm is installed")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--to", type=Path, default=Path("runs/compare"))
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time")
    parser.add_argument("--table", type=Path, help="write the table here too")
    parser.add_argument("learner", nargs="*", help="further arguments of the learner, after --")
    args = parser.parse_args()
    demonstrations = args.to / "demonstrations"
    if not (demonstrations / f"{args.env_id}_{HORIZON}.npz").exists():
        run(
            "maniskill_demonstrations.py",
            *("--env-id", args.env_id, "--episodes", str(DEMONSTRATIONS)),
            *("--horizon", str(HORIZON), "--to", str(demonstrations)),
        )
    model = args.to / args.env_id / "model"
    todo = list(missing(args))
    if todo:
        with served(args.server_python, args.checkpoint) as (address, identity):
            if model.exists() and model.read_text() != identity:
                raise SystemExit(
                    f"{args.to} holds runs with {model.read_text()}: name another --to"
                )
            model.parent.mkdir(parents=True, exist_ok=True)
            model.write_text(identity)

            def learn(name: str, seed: int, folder: Path) -> None:
                print(f"{args.env_id}, {name}, seed {seed}", flush=True)  # noqa: T201
                run(
                    "ppo_maniskill.py",
                    *("--env-id", args.env_id, "--horizon", str(HORIZON), *ROWS[name]),
                    *("--seed", str(seed), "--server", address, "--run", str(folder)),
                    *("--demonstrations", str(demonstrations), *args.learner),
                )

            with ThreadPoolExecutor(args.parallel) as pool:
                try:
                    for each in [pool.submit(learn, *one) for one in todo]:
                        each.result()
                finally:
                    # Ended or failed: what has not begun does not begin.
                    pool.shutdown(cancel_futures=True)
    rows = figures(args.to / args.env_id, list(ROWS), args.seeds)
    start = next(iter(rows.values()))["start"]
    if not STARTS_WITHIN[0] <= start <= STARTS_WITHIN[1]:
        print(f"the start succeeds in {start:.0%}: it should be weak, not hopeless")  # noqa: T201
    text = as_markdown(args.env_id, model.read_text(), rows, " ".join(args.learner))
    print(text)  # noqa: T201
    if args.table is not None:
        args.table.write_text(text)
        args.table.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
