"""Trains the embedded checkpoint: `python -m training.train --minutes 80 --export FOLDER`.

Stop and resume at will.

Data parallel over single-threaded processes, which on a busy machine does better than one process
with many threads.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tqdm import tqdm

from training import architecture
from training import tokenizer as tokenization
from training.dataset import load_episodes
from training.objective import StateHead, state_statistics, text_loss, vision_loss
from training.prompts import label_tokens
from training.rollouts.labels import load_calibrations
from training.samples import Sampler
from training.warm_start import adopt

if TYPE_CHECKING:
    from torch import Tensor

# Shares of the time: the vision tower alone at first, and the rise of the learning rate.
VISION_SHARE: Final = 0.04
RISE_SHARE: Final = 0.01
# Weight of the state's loss once the decoder learns too, at first; it falls with the learning rate.
STATE_WEIGHT: Final = 0.5
CLIP: Final = 1.0
EMA_DECAY: Final = 0.998
# Seconds between saves.
SAVE_EVERY_S: Final = 240.0


@dataclass(frozen=True)
class Args:
    """What a training process needs to know."""

    data: Path
    calibrations: Path
    work: Path
    export: Path | None
    minutes: float
    episodes: int
    rate: float
    processes: int
    seed: int
    limit: int | None
    start: Path | None


def schedule(share: float) -> float:
    """The learning rate's factor after a share of the time.

    A short rise, then a cosine to a hundredth.
    """
    if share < RISE_SHARE:
        return max(share / RISE_SHARE, 0.02)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


class Trainer:
    """One process of the training."""

    def __init__(self, args: Args, rank: int) -> None:
        self.args, self.rank = args, rank
        self.tokenizer = tokenization.build()
        self.model = architecture.build(self.tokenizer, args.seed)
        self.labels = label_tokens(self.tokenizer)
        episodes = load_episodes(
            args.data, load_calibrations(args.calibrations), held_out=False, limit=args.limit
        )
        rows = np.concatenate([episode.state for episode in episodes])
        self.head = StateHead(architecture.TEXT["hidden_size"], *state_statistics(rows))
        self.average = copy.deepcopy(self.model).eval()
        self.parameters = [*self.model.parameters(), *self.head.parameters()]
        decayed = [p for p in self.parameters if p.ndim > 1]
        plain = [p for p in self.parameters if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
            lr=args.rate,
            betas=(0.9, 0.98),
        )
        self.step, self.elapsed = 0, 0.0
        self._resume()
        # A resumed run draws new batches instead of the first ones again.
        rng = np.random.default_rng([args.seed, rank, self.step])
        self.sampler = Sampler(episodes, self.tokenizer, rng)

    @property
    def _state_file(self) -> Path:
        return self.args.work / "state.pt"

    def _resume(self) -> None:
        """Goes on from a saved state; then the first weights do not matter."""
        if not self._state_file.exists():
            if self.args.start is not None:
                adopt(self.model, self.tokenizer, self.args.start)
                self.average.load_state_dict(self.model.state_dict())
            return
        state: dict[str, Any] = torch.load(self._state_file, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.head.load_state_dict(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed = state["step"], state["elapsed"]

    def save(self) -> None:
        """Writes everything that resuming needs, and the averaged weights as a checkpoint."""
        self.args.work.mkdir(parents=True, exist_ok=True)
        part = self._state_file.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "head": self.head.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "elapsed": self.elapsed,
            },
            part,
        )
        part.rename(self._state_file)
        if self.args.export is not None:
            architecture.save(self.average, self.tokenizer, self.args.export)

    def learn(self) -> dict[str, float]:
        """One step; returns the losses."""
        share = self.elapsed / (60 * self.args.minutes)
        factor = schedule(share)
        for group in self.optimiser.param_groups:
            group["lr"] = self.args.rate * factor
        batch = self.sampler.batch(self.args.episodes)
        with torch.autocast("cpu", torch.bfloat16):
            vision, state = vision_loss(self.model, self.head, batch)
            losses = {"state": float(state.detach())}
            total: Tensor = state
            if share >= VISION_SHARE:
                text, by_head = text_loss(self.model, vision, batch, self.labels)
                losses |= by_head
                total = text + STATE_WEIGHT * factor * state
        total.backward()
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._follow()
        self.step += 1
        return losses

    def _share_gradients(self) -> None:
        """Averages the gradients over the processes, in one message."""
        found = [p for p in self.parameters if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in found if p.grad is not None])
        dist.all_reduce(flat)
        flat /= self.args.processes
        start = 0
        for parameter in found:
            size = parameter.numel()
            parameter.grad = flat[start : start + size].view_as(parameter)
            start += size

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the averaged weights after the trained ones."""
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for mean, now in pairs:
            mean.lerp_(now, 1 - decay)

    def run(self) -> None:
        """Trains until the time is up."""
        bar = tqdm(unit="step", mininterval=20, disable=self.rank != 0)
        recent: dict[str, float] = {}
        saved = last = time.monotonic()
        limit = 60 * self.args.minutes
        if self.elapsed >= limit and self.rank == 0:
            had = f"{self._state_file} has had its {self.args.minutes:g} minutes"
            tqdm.write(f"{had}: give more --minutes, or another --work to begin anew")
            self.save()
        while self.elapsed < limit:
            losses = self.learn()
            now = time.monotonic()
            # The processes must agree on the time, or one would stop and leave the others waiting.
            clock = torch.tensor(self.elapsed + now - last)
            dist.broadcast(clock, 0)
            self.elapsed, last = float(clock), now
            for name, value in losses.items():
                recent[name] = 0.97 * recent.get(name, value) + 0.03 * value
            bar.update()
            bar.set_postfix({name: f"{value:.3f}" for name, value in recent.items()}, refresh=False)
            if self.rank == 0 and (now - saved > SAVE_EVERY_S or self.elapsed >= limit):
                self.save()
                saved = time.monotonic()
        bar.close()


def _work(rank: int, args: Args) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{args.work.resolve()}/rendezvous",
        rank=rank,
        world_size=args.processes,
    )
    Trainer(args, rank).run()
    dist.destroy_process_group()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/rollouts"))
    parser.add_argument("--calibrations", type=Path, default=Path("data/calibration.json"))
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("data/training"),
        help="where the state to resume from lies",
    )
    parser.add_argument(
        "--export", type=Path, help="where checkpoints of the averaged weights are written"
    )
    parser.add_argument(
        "--minutes", type=float, default=80.0, help="training time; the learning rate follows it"
    )
    parser.add_argument("--episodes", type=int, default=7, help="episodes per process and step")
    parser.add_argument("--rate", type=float, default=6e-4, help="highest learning rate")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="checkpoint whose weights are the first ones")
    parser.add_argument("--limit", type=int, help="use only so many episodes")
    args = Args(**vars(parser.parse_args()))
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "rendezvous").unlink(missing_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    mp.spawn(_work, args=(args,), nprocs=args.processes)


if __name__ == "__main__":
    main()
