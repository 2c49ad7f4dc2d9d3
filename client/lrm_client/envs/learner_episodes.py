"""The episodes of an adapter's environments, and what their learner is paid and told."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrm_client.clock import Hold
from lrm_client.envs.learner_rewards import LearnerRewards, blend, check_weight
from lrm_client.flows import Sender
from lrm_client.rewards import HeadRewards, Rewards
from lrm_client.vector_base import FramesSource, VectorOptions
from lrm_client.vector_episodes import StepHandle, VectorEpisodes

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger(__name__)

Terminations: TypeAlias = Literal["ignore", "keep"]
"""What a termination by the simulator does: nothing, or it ends the episode.

A simulator that terminates on success tells its learner so by the length of the episode,
whatever the reward model says. ``ignore`` keeps that from training: episodes end by
truncation, at a fixed horizon.
"""


class LearnerEpisodes:
    """``VectorEpisodes`` for an adapter: blended rewards, now or gathered later.

    Args:
        client: a ``RewardClient``.
        num_envs: N >= 1.
        task: the task in words, of all environments or of each.
        heads: the heads that are asked.
        weight: share of the model in the reward, within 0 and 1.
        terminations: whether a termination by the simulator ends an episode.
        deferred: whether rewards are gathered later.
        options: those of ``VectorEpisodes``.

    Attributes:
        task: the task in words; another one holds for the episodes that begin after it
            was set.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        client: Sender,
        num_envs: int,
        task: str | Sequence[str],
        heads: Sequence[str],
        *,
        weight: float = 1.0,
        terminations: Terminations = "ignore",
        deferred: bool = False,
        **options: Unpack[VectorOptions],
    ) -> None:
        if terminations not in ("ignore", "keep"):
            raise ValueError(f"terminations must be ignore or keep, not {terminations!r}")
        self.task = task
        self.deferred = deferred
        self._weight = check_weight(weight)
        self._episodes = VectorEpisodes(client, num_envs, task, heads, **options)
        self._submitted: list[tuple[StepHandle, NDArray[np.float32]]] = []
        if terminations == "keep":
            _warn_of_haste(options.get("head") or heads[0], Hold(options.get("hold", Hold.HOLD)))

    @property
    def num_envs(self) -> int:
        """N."""
        return self._episodes.num_envs

    def reset(self, frames: FramesSource, mask: ArrayLike | None = None) -> None:
        """Begins episodes with their initial frames, as ``VectorEpisodes.reset``.

        Args:
            frames: uint8 (N, H, W, 3), or what renders the frames of given environments.
            mask: bool (N,): which environments; None for all.
        """
        self._episodes.reset(frames, mask, task=self.task)

    def step(
        self,
        frames: FramesSource,
        environment: ArrayLike,
        *,
        final: ArrayLike,
        mask: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Takes the next step, as ``VectorEpisodes.step`` or, deferred, as its ``submit``.

        Args:
            frames: uint8 (N, H, W, 3), or what renders the frames of given environments.
            environment: (N,), the environments' own rewards.
            final: bool (N,): whose episode ends with this step.
            mask: bool (N,): who takes a step; None for all. The others, which were reset
                instead, are paid their environment's own reward.

        Returns:
            The learner's rewards, float32 (N,), NaN where they are not known yet; and what
            ``info["lrm"]`` says of them, see ``step_info``.

        Raises:
            RewardsFailed: some environments have no reward, and the policy is ``raise``.
                The step is taken.
        """
        # A copy: an environment may write its next rewards into the same array.
        own = np.array(environment, np.float32)
        stepped = np.ones(self.num_envs, np.bool_) if mask is None else np.asarray(mask, np.bool_)
        if not self.deferred:
            rewards = self._episodes.step(frames, final=final, mask=mask)
            paid = self._paid(own, rewards.rewards, stepped)
            return paid, step_info(own, self._steps(stepped), rewards)
        handle = self._episodes.submit(frames, final=final, mask=mask)
        self._submitted.append((handle, own))
        unknown = np.full(self.num_envs, np.nan, np.float32)
        return self._paid(own, unknown, stepped), step_info(own, self._steps(stepped))

    def gather(self) -> LearnerRewards:
        """Waits for the rewards of the T steps since the last time, and returns them.

        Raises:
            RuntimeError: the episodes are not deferred.
            RewardsFailed: some environments have no reward at some steps, and the policy is
                ``raise``; it holds the model's rewards of all the others.
        """
        if not self.deferred:
            raise RuntimeError("rewards are gathered where they are deferred: set deferred=True")
        submitted, self._submitted = self._submitted, []
        model = self._episodes.gather([handle for handle, _ in submitted])
        own = np.asarray([own for _, own in submitted], np.float32).reshape(model.rewards.shape)
        paid = self._paid(own, model.rewards, model.step > 0)
        return LearnerRewards(paid, model.valid, own, model)

    def close(self) -> None:
        """Closes the episodes on the server. Closing twice is no error."""
        self._submitted.clear()
        self._episodes.close()

    def _steps(self, stepped: NDArray[np.bool_]) -> NDArray[np.int32]:
        return np.where(stepped, self._episodes.last_steps, np.int32(0))

    def _paid(
        self, own: NDArray[np.float32], model: NDArray[np.float32], stepped: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        return np.where(stepped, blend(self._weight, own, model), own)


def step_info(
    environment: NDArray[np.float32], steps: NDArray[np.int32], rewards: Rewards | None = None
) -> dict[str, Any]:
    """What ``info["lrm"]`` says of a step of N environments.

    Args:
        environment: float32 (N,), the environments' own rewards.
        steps: int32 (N,), each environment's step of its episode; 0 where it was reset.
        rewards: the model's; None while they are not known.

    Returns:
        ``environment`` and ``step``, as they are given. With the model's rewards also
        ``valid``, bool (N,), of the head that pays; and ``heads``: by name, ``reward``,
        ``value``, ``valid``, ``source``, ``age`` as in ``HeadRewards``, and ``error``, str
        (N,), why the head failed, else empty.
    """
    told: dict[str, Any] = {"environment": environment, "step": steps}
    if rewards is not None:
        told["valid"] = rewards.valid
        told["heads"] = {name: _head_info(head) for name, head in rewards.heads.items()}
    return told


def scalars(info: Mapping[str, Any]) -> dict[str, Any]:
    """What ``step_info`` says of one environment, as Python's numbers and words."""
    return {
        name: scalars(part) if isinstance(part, Mapping) else part[0].item()
        for name, part in info.items()
    }


def _head_info(head: HeadRewards) -> dict[str, Any]:
    errors = [""] * len(head.rewards)
    for at, error in head.errors.items():
        errors[at] = str(error)
    return {
        "reward": head.rewards,
        "value": head.values,
        "valid": head.valid,
        "source": head.source,
        "age": head.age,
        "error": np.asarray(errors, np.str_),
    }


def _warn_of_haste(head: str, hold: Hold) -> None:
    """Says that a reward for where the robot is punishes being done early."""
    if head != "contrastive" and hold is not Hold.DIFFERENCE:
        logger.warning(
            "terminations='keep' with hold=%r pays %s for every step that an episode lasts, "
            "and so punishes finishing early: choose hold='difference', or terminations="
            "'ignore' with a fixed horizon",
            hold.value,
            head,
        )
