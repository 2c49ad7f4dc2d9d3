"""What a learner is paid: the environment's own reward and the reward model's, blended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrm_client.rewards import RolloutRewards


@dataclass(frozen=True, slots=True, eq=False)
class LearnerRewards:
    """The rewards of T steps of N environments, as a learner uses them.

    Attributes:
        rewards: float32 (T, N), blended. NaN where the model's reward is; the environment's
            own where it was reset instead of taking a step, which ``model.step`` says.
        valid: bool (T, N): whether the model's reward is one that the clock gave.
        environment: float32 (T, N), the environments' own rewards.
        model: the model's rewards, with those of every head.
    """

    rewards: NDArray[np.float32]
    valid: NDArray[np.bool_]
    environment: NDArray[np.float32]
    model: RolloutRewards


def check_weight(weight: float) -> float:
    """The share of the model in the reward.

    Raises:
        ValueError: it is not within 0 and 1.
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight must be within 0 and 1, not {weight}")
    return weight


def blend(weight: float, environment: ArrayLike, model: ArrayLike) -> NDArray[np.float32]:
    """``(1 - weight) environment + weight model``, LRM's blending, arXiv 2603.16065.

    With weight 1 the environment's reward is not looked at, whatever it is.

    Args:
        weight: share of the model, within 0 and 1.
        environment: rewards of any shape.
        model: rewards of the same shape; NaN stays NaN.

    Returns:
        float32, of that shape.
    """
    paid = np.asarray(model, np.float32)
    if weight == 1.0:
        return paid.copy()
    own = np.asarray(environment, np.float32)
    return np.float32(1.0 - weight) * own + np.float32(weight) * paid
