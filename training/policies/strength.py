"""Cloned policies from weak to strong, trained when they are first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.policies.clone import Clone, Training, clone, load, save
from training.policies.demonstrations import PAUSE, successful

if TYPE_CHECKING:
    from pathlib import Path

# A policy has this many times as long as the planner takes.
LEISURE: Final = 1.3
# Demonstrations from which a task's horizon is taken.
TIMED: Final = 20


@dataclass(frozen=True)
class Strength:
    """How good a policy is made.

    Attributes:
        name: of the policy.
        demonstrations: how many it is cloned from.
        steps: of its training.
        noise: standard deviation of the noise on its joint targets when it acts, in radians.
        share: of the episodes that it acts in, where several take turns.
    """

    name: str
    demonstrations: int
    steps: int
    noise: float
    share: float

    @property
    def kind(self) -> str:
        """As rollouts name who acted."""
        return f"clone-{self.name}"


STRENGTHS: Final = (
    Strength("strong", 100, 3000, 0.0, 0.45),
    Strength("medium", 25, 1200, 0.01, 0.35),
    Strength("weak", 6, 400, 0.03, 0.2),
)


def draw_strength(env_id: str, seed: int) -> Strength:
    """Who acts in a task's episode of a seed.

    The task counts, for a seed looks the same in all tasks: else a look would tell who acts.
    """
    rng = np.random.default_rng([seed, 14, sum(env_id.encode())])
    return STRENGTHS[int(rng.choice(len(STRENGTHS), p=[one.share for one in STRENGTHS]))]


def policy_of(strength: Strength, env_id: str, demonstrations: Path, cache: Path) -> Clone:
    """A task's policy of a strength, from `cache` where it was trained before.

    Raises:
        ValueError: the task has no successful demonstrations.
    """
    path = cache / env_id / f"{strength.name}-{strength.demonstrations}-{strength.steps}.pt"
    if path.exists():
        return load(path)
    found = successful(demonstrations, env_id, strength.demonstrations)
    policy = clone(found, Training(strength.steps))
    save(policy, path)
    return policy


def horizon_of(env_id: str, demonstrations: Path) -> int:
    """How many steps a policy may take in a task.

    Raises:
        ValueError: the task has no successful demonstrations.
    """
    lengths = [len(one.targets) - PAUSE for one in successful(demonstrations, env_id, TIMED)]
    if not lengths:
        raise ValueError(f"{env_id} has no demonstrations: run training.policies.demonstrations")
    return round(LEISURE * float(np.median(lengths)))
