"""A small policy cloned from demonstrations by regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import nn

from training.policies.observation import ACTION, ARM, SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.policies.demonstrations import Demonstration

# How many steps a policy plans, and how many of them it does before it looks again: it must plan
# past the places where the planner stands still, or it stays there.
CHUNK: Final = 16
DONE_AT_ONCE: Final = 16
# Inputs that hardly vary are left in their own unit.
LEAST_SPREAD: Final = 1e-3
# Noise on the normalised inputs in training: without it a small network learns to copy its joints.
BLUR: Final = 0.01
BATCH: Final = 256
LEARNING_RATE: Final = 1e-3
WIDTH: Final = 256


@dataclass(frozen=True)
class Training:
    """How a policy is trained.

    Attributes:
        steps: of the optimiser.
        seed: of the weights and of the batches.
    """

    steps: int = 3000
    seed: int = 0


class Clone(nn.Module):
    """From an observation to the next CHUNK actions.

    Joint targets are told as ways from where the joints are; the scale of each is the
    demonstrations'.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(SIZE, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, CHUNK * ACTION),
        )
        for name, size in (("input", SIZE), ("output", CHUNK * ACTION)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_spread", torch.ones(size))
        self.register_buffer("lowest", torch.zeros(SIZE))
        self.register_buffer("highest", torch.zeros(SIZE))

    def forward(self, normalised: torch.Tensor) -> torch.Tensor:
        """Normalised observations, float32 (B, SIZE), to normalised chunks, (B, CHUNK * ACTION)."""
        chunk: torch.Tensor = self.body(normalised)
        return chunk

    def normalise(self, observations: torch.Tensor) -> torch.Tensor:
        """Centres and scales observations, float32 (B, SIZE)."""
        scaled: torch.Tensor = (observations - self.input_mean) / self.input_spread
        return scaled

    @torch.no_grad()
    def plan(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next actions, float32 (CHUNK, ACTION): joint targets in radians, and the gripper.

        Args:
            observation: float32 (SIZE,), which begins with the joints.
        """
        # Far from all that was demonstrated a network's answer is arbitrary: look no further out.
        seen = torch.from_numpy(observation).clamp(self.lowest, self.highest)
        flat = self(self.normalise(seen[None]))[0] * self.output_spread + self.output_mean
        chunk: NDArray[np.float32] = flat.view(CHUNK, ACTION).numpy()
        chunk[:, :ARM] += observation[:ARM]
        chunk[:, ARM:] = np.clip(chunk[:, ARM:], -1.0, 1.0)
        return chunk


def pairs(
    demonstrations: Sequence[Demonstration],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What is seen and what follows, of all steps of all demonstrations.

    Returns:
        Observations float32 (S, SIZE), and chunks float32 (S, CHUNK * ACTION): joint targets less
        the joints, and the gripper. After its end a demonstration goes on as it ended.
    """
    seen, asked = [], []
    for one in demonstrations:
        ahead = np.arange(len(one.targets))[:, None] + np.arange(CHUNK)
        chunks = one.targets[np.minimum(ahead, len(one.targets) - 1)]
        chunks[:, :, :ARM] -= one.observations[:, None, :ARM]
        seen.append(one.observations)
        asked.append(chunks.reshape(len(chunks), -1))
    return np.concatenate(seen), np.concatenate(asked)


def clone(demonstrations: Sequence[Demonstration], training: Training) -> Clone:
    """Trains a policy on demonstrations; the same arguments give the same one.

    Raises:
        ValueError: there are no demonstrations.
    """
    if not demonstrations:
        raise ValueError("there are no demonstrations to clone")
    seen, asked = (torch.from_numpy(array) for array in pairs(demonstrations))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        policy = Clone()
        policy.input_mean, policy.input_spread = _scale(seen)
        policy.output_mean, policy.output_spread = _scale(asked)
        margin = policy.input_spread
        policy.lowest, policy.highest = seen.amin(0) - margin, seen.amax(0) + margin
        inputs = policy.normalise(seen)
        outputs = (asked - policy.output_mean) / policy.output_spread
        optimiser = torch.optim.AdamW(policy.parameters(), LEARNING_RATE, weight_decay=1e-4)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(training.steps, 1))
        for _ in range(training.steps):
            chosen = torch.randint(len(inputs), (BATCH,))
            blurred = inputs[chosen] + BLUR * torch.randn(BATCH, SIZE)
            # Absolute error: where the planner does one of two things, the mean is neither.
            loss = nn.functional.l1_loss(policy(blurred), outputs[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            decay.step()
    return policy.eval()


def save(policy: Clone, path: Path) -> None:
    """Writes a policy; an interrupted write leaves no file under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(policy.state_dict(), part)
    part.rename(path)


def load(path: Path) -> Clone:
    """Reads a policy."""
    policy = Clone()
    policy.load_state_dict(torch.load(path, weights_only=True))
    return policy.eval()


def _scale(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    spread = values.std(0)
    return values.mean(0), torch.where(spread < LEAST_SPREAD, torch.ones_like(spread), spread)
