"""ManiSkill's batched environments, rewarded by a reward model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from lrm_client.clock import Phase, Source
from lrm_client.envs.cameras import RENDER, Camera
from lrm_client.envs.gymnasium_bases import EnvWrapper
from lrm_client.envs.learner_episodes import LearnerEpisodes, Terminations
from lrm_client.envs.learner_rewards import LearnerRewards
from lrm_client.envs.maniskill_cameras import frame_reader
from lrm_client.errors import EpisodeEnded, EpisodeNotFound
from lrm_client.flows import Sender
from lrm_client.vector_base import VectorOptions

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

SOURCE_CODES: Final[Mapping[str, int]] = MappingProxyType(
    {
        Source.NEUTRAL.value: 0,
        Source.QUERIED.value: 1,
        Source.HELD.value: 2,
        Source.FAILED.value: 3,
    }
)
"""``source`` in ``info["lrm"]``, where ManiSkill's wrappers allow tensors and no words."""


class ManiSkillRewardEnv(EnvWrapper):
    """N environments of ManiSkill's whose reward comes from a reward model.

    It goes below ``ManiSkillVectorEnv``, which resets within ``step`` and leaves no pixels of
    an episode's last state::

        size = {"width": 128, "height": 128}
        env = gym.make("PushCube-v1", num_envs=64, human_render_camera_configs=size)
        env = ManiSkillRewardEnv(env, client, "Push the cube into the circle.", ["progress"])
        envs = ManiSkillVectorEnv(env, auto_reset=True)

    All environments are rendered at the steps at which one is due, every K steps, and when
    one begins or ends. Rewards are float32 (N,) on the environment's device. ``info["lrm"]``
    holds tensors (N,) on it: ``environment``, float32, the environment's own reward, and
    ``step``, int32; and where rewards are not deferred ``valid``, bool, of the head that pays,
    and ``heads``: by name, ``reward`` and ``value``, float32, ``valid``, bool, ``source``,
    int8, see ``SOURCE_CODES``, and ``age``, int32. Where ``ManiSkillVectorEnv`` resets, it
    moves them to ``infos["final_info"]["lrm"]``, as all infos. Why a head failed takes words:
    ``RewardsFailed`` has them, and the model's rewards that ``gather`` returns.

    Held progress pays for every step that an episode lasts. So that finishing early is not
    punished, and success does not reach the learner by the length of its episodes,
    terminations are ignored and all episodes are equally long.

    Args:
        env: made by ``gymnasium.make``, with wrappers of ManiSkill's that keep tensors.
        client: a ``RewardClient``; it stays the caller's.
        task: the task in words, of all environments or of each.
        heads: the heads that are asked.
        camera: ``render``, the only camera for people; ``render/NAME``, one of several;
            ``sensor/NAME``, one of the policy's cameras, rendered also where the observation
            has no pixels, and without the markers of a goal that ManiSkill hides from it;
            ``observation/KEY/...``, pixels of the observation; or what gives the frames of
            the environments whose indices, intp (M,), it is told, as uint8 (M, H, W, 3) in
            their order.
        weight: share of the model in the reward, within 0 and 1; with 1 nothing of the
            environment's reward is in it.
        terminations: ``ignore``: ``terminated`` is False throughout, and episodes end at
            ``max_episode_steps``. ``keep``: they end when the environment says so.
        deferred: whether ``step`` returns NaN and asks in the background; ``gather`` returns
            the rewards.
        options: those of ``VectorEpisodes``; ``phase`` is ``aligned`` unless told otherwise.

    Raises:
        ImportError: gymnasium or torch is not installed.
        TypeError: the environment is none of ManiSkill's, or resets itself.
        ValueError: an argument out of range, no such camera, or no ``max_episode_steps``.
    """

    # Its tensors are not what Gymnasium's types say.
    env: Any

    def __init__(
        self,
        env: Any,
        client: Sender,
        task: str | Sequence[str],
        heads: Sequence[str],
        *,
        camera: Camera = RENDER,
        weight: float = 1.0,
        terminations: Terminations = "ignore",
        deferred: bool = False,
        **options: Unpack[VectorOptions],
    ) -> None:
        self._torch = _installed()
        base = _base_of(env)
        super().__init__(env)
        options.setdefault("phase", Phase.ALIGNED)
        self._episodes = LearnerEpisodes(
            client,
            base.num_envs,
            task,
            heads,
            weight=weight,
            terminations=terminations,
            deferred=deferred,
            **options,
        )
        if terminations == "ignore" and _horizon(env) is None:
            raise ValueError(
                "terminations='ignore' needs episodes that end by their length: give "
                "max_episode_steps to gymnasium.make"
            )
        self._ignored = terminations == "ignore"
        self._read = frame_reader(env, camera)
        self._began = np.zeros(base.num_envs, np.bool_)
        self._running = np.zeros(base.num_envs, np.bool_)

    @property
    def num_envs(self) -> int:
        """N."""
        return self._episodes.num_envs

    @property
    def task(self) -> str | Sequence[str]:
        """The task in words; one that is set holds for the episodes that begin after."""
        return self._episodes.task

    @task.setter
    def task(self, task: str | Sequence[str]) -> None:
        self._episodes.task = task

    @property
    def device(self) -> torch.device:
        """Where the environment's tensors are, and the rewards."""
        device: torch.device = self.env.unwrapped.device
        return device

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environments, and begins their episodes with their initial frames.

        Args:
            seed: as ManiSkill's.
            options: as ManiSkill's; ``env_idx``, int (M,), says which environments.

        Raises:
            LrmError: an episode could not be opened.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        mask = np.ones(self.num_envs, np.bool_)
        if options is not None and "env_idx" in options:
            mask[:] = False
            mask[self._on_host(options["env_idx"]).astype(np.intp)] = True
        # Until its frame has come, an environment that was reset has no episode.
        self._running[mask] = False
        self._began[mask] = False
        self._episodes.reset(lambda due: self._read(observation, due), mask)
        self._began[mask] = True
        self._running[mask] = True
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps the environments, and pays them by the model.

        Returns:
            As ManiSkill's ``step``, with the learner's reward, NaN where it is deferred or
            has failed, and ``info["lrm"]``.

        Raises:
            EpisodeEnded: an environment's episode has ended; it is to be reset first.
            EpisodeNotFound: an environment was never reset.
            RewardsFailed: some environments have no reward, and the policy is ``raise``. The
                step is taken.
        """
        self._check_running()
        observation, own, terminated, truncated, info = self.env.step(action)
        self._check_batched(truncated)
        if self._ignored:
            terminated = self._torch.zeros_like(truncated)
        final = self._on_host(terminated | truncated)
        self._running &= ~final
        rewards, told = self._episodes.step(
            lambda due: self._read(observation, due), self._on_host(own), final=final
        )
        info = {**info, "lrm": self._tensors(told)}
        return observation, self._tensor(rewards), terminated, truncated, info

    def gather(self) -> LearnerRewards:
        """Waits for the rewards of the T steps since the last time, and returns them.

        Raises:
            RuntimeError: rewards are not deferred.
            RewardsFailed: some environments have no reward at some steps, and the policy is
                ``raise``; it holds the model's rewards of all the others.
        """
        return self._episodes.gather()

    def close(self) -> None:
        """Closes the episodes on the server, and the environments."""
        self._episodes.close()
        super().close()

    def _check_running(self) -> None:
        """Refuses a step before the simulator has taken it."""
        if not self._began.all():
            which = np.flatnonzero(~self._began).tolist()
            raise EpisodeNotFound(f"environments {which} have no episode: reset them first")
        if not self._running.all():
            which = np.flatnonzero(~self._running).tolist()
            raise EpisodeEnded(
                f"the episodes of environments {which} have ended: reset them, or let "
                "ManiSkillVectorEnv around this do it, with auto_reset=True and without "
                "ignore_terminations"
            )

    def _check_batched(self, truncated: Any) -> None:
        if not isinstance(truncated, self._torch.Tensor) or truncated.shape != (self.num_envs,):
            raise TypeError(
                f"the environment's truncated must be a tensor of shape ({self.num_envs},), not "
                f"{truncated!r}: wrappers that take the batch away go above ManiSkillRewardEnv"
            )

    def _on_host(self, values: Any) -> NDArray[Any]:
        return np.asarray(values.cpu() if hasattr(values, "cpu") else values)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        if array.dtype.kind == "U":
            array = _codes(array)
        # A copy: what a learner does with a tensor must not reach what is gathered later.
        tensor: torch.Tensor = self._torch.tensor(array, device=self.device)
        return tensor

    def _tensors(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a step, without the words of its errors."""
        return {
            name: self._tensors(part) if isinstance(part, Mapping) else self._tensor(part)
            for name, part in told.items()
            if name != "error"
        }


def _codes(sources: NDArray[np.str_]) -> NDArray[np.int8]:
    return np.asarray([SOURCE_CODES[source] for source in sources.tolist()], np.int8)


def _installed() -> Any:
    """Torch, when what the wrapper needs is there."""
    try:
        importlib.import_module("gymnasium")
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(
            f"ManiSkillRewardEnv needs {error.name}: pip install mani_skill brings it"
        ) from error


def _base_of(env: Any) -> Any:
    """The environment itself, below its wrappers.

    Raises:
        TypeError: it is none of ManiSkill's, or it is wrapped in what resets by itself.
    """
    vector = importlib.import_module("gymnasium.vector")
    if isinstance(env, vector.VectorEnv):
        raise TypeError(
            "ManiSkillRewardEnv goes below ManiSkillVectorEnv, which leaves no pixels of an "
            "episode's last state: ManiSkillVectorEnv(ManiSkillRewardEnv(gymnasium.make(...), ...))"
        )
    base = getattr(env, "unwrapped", None)
    if not all(hasattr(base, name) for name in ("num_envs", "elapsed_steps", "render_rgb_array")):
        raise TypeError(
            f"{env!r} is no environment of ManiSkill's: others are wrapped by RewardEnv and "
            "RewardVectorEnv"
        )
    return base


def _horizon(env: Any) -> int | None:
    """The number of steps after which the wrappers truncate; None where none does."""
    while env is not env.unwrapped:
        limit: int | None = getattr(env, "_max_episode_steps", None)
        if limit is not None:
            return limit
        env = env.env
    return None
