"""The load of one learner, in a process of its own: N environments stepped through the client.

``python -m bench.learner`` reads one JSON order a line from standard input and answers each with
one line: what it took. It is the client that users have, with its defaults.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.scene import frames
from lrm_client import RewardClient

TASK = "Push the blue cube into the target circle."


@dataclass(frozen=True)
class Order:
    """One episode of N environments.

    Attributes:
        target: the server.
        environments: N.
        heads: which heads are asked.
        interval: K.
        steps: how many steps each environment takes.
        seed: of the frames.
    """

    target: str
    environments: int
    heads: tuple[str, ...]
    interval: int
    steps: int
    seed: int


def run(order: Order) -> dict[str, Any]:
    """Seconds of every step, by whether it was due; the frames' making is left out."""
    due: list[float] = []
    held: list[float] = []
    with RewardClient(order.target, timeout=120.0) as client:
        episodes = client.vector_episodes(
            order.environments, TASK, order.heads, interval=order.interval
        )
        episodes.reset(frames(order.environments, order.seed))
        for step in range(1, order.steps + 1):
            wanted = bool(np.any(episodes.wants()))
            shown = frames(order.environments, order.seed + step) if wanted else None
            began = time.perf_counter()
            result = episodes.step(shown)
            (due if wanted else held).append(time.perf_counter() - began)
            if not result.valid.all():
                raise RuntimeError(f"step {step} gave rewards that are not valid")
        episodes.close()
    return {"due": due, "held": held}


def main() -> None:
    """Answers orders until the input ends."""
    for line in sys.stdin:
        given = json.loads(line)
        given["heads"] = tuple(given["heads"])
        print(json.dumps(run(Order(**given))), flush=True)


def as_line(order: Order) -> str:
    """An order as ``main`` reads it."""
    return json.dumps(asdict(order)) + "\n"


if __name__ == "__main__":
    main()
