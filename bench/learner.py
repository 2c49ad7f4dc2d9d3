"""The load of one learner, in a process of its own: N environments stepped through the client.

It is the client that users have, with its defaults. ``own_process`` is where it runs::

    with own_process() as learner:
        took = learner.submit(step, load).result()
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.scene import SIDE, frames
from lrm_client import FrameEncoder, RewardClient
from lrm_client.vector_base import VectorOptions

TASK = "Push the blue cube into the target circle."


@dataclass(frozen=True)
class Load:
    """One episode of N environments.

    Attributes:
        target: the server.
        environments: N.
        heads: which heads are asked.
        interval: K.
        due: how many of the steps are due; each environment takes ``due * interval``.
        seed: of the frames; no two loads of one run have the same.
        side: of the frames, in pixels.
        encoding: how the frames travel.
        swap: whether contrastive asks both orders.
    """

    target: str
    environments: int
    heads: tuple[str, ...]
    interval: int = 10
    due: int = 3
    seed: int = 0
    side: int = SIDE
    encoding: Literal["raw", "jpeg"] = "raw"
    swap: bool = False

    @property
    def queries(self) -> int:
        """How many are asked at a due step."""
        return self.environments * len(self.heads)


@dataclass(frozen=True)
class Took:
    """Seconds of every step; the frames' making is left out.

    Attributes:
        due: of steps whose rewards were asked.
        held: of the others.
    """

    due: list[float]
    held: list[float]

    @property
    def steady(self) -> list[float]:
        """Of due steps after the first, which alone finds the initial frames new."""
        return self.due[1:] or self.due


def own_process() -> ProcessPoolExecutor:
    """A process that shares nothing with this one, and runs one thing at a time."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def step(load: Load) -> Took:
    """Steps one episode.

    Raises:
        RuntimeError: a reward is not valid.
    """
    took = Took([], [])
    # As others do, it leaves out what it does not want.
    options: VectorOptions = {"interval": load.interval}
    if load.swap:
        options["swap"] = True
    encoder = FrameEncoder(load.encoding)
    with RewardClient(load.target, timeout=300.0, encoder=encoder) as client:
        episodes = client.vector_episodes(load.environments, TASK, load.heads, **options)
        episodes.reset(frames(load.environments, load.seed, load.side))
        for at in range(1, load.due * load.interval + 1):
            wanted = bool(np.any(episodes.wants()))
            shown = frames(load.environments, load.seed + at, load.side) if wanted else None
            began = time.perf_counter()
            result = episodes.step(shown)
            (took.due if wanted else took.held).append(time.perf_counter() - began)
            if not result.valid.all():
                raise RuntimeError(f"step {at} gave rewards that are not valid")
        episodes.close()
    return took


def keep_stepping(load: Load, seconds: float) -> list[Took]:
    """Steps one episode after the other, until so many seconds have passed."""
    until = time.monotonic() + seconds
    taken = []
    for turn in itertools.count():
        taken.append(step(replace(load, seed=load.seed + 10_000 * turn)))
        if time.monotonic() >= until:
            break
    return taken
