"""N Gymnasium environments, whose rewards come from a reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrm_client.clock import Phase
from lrm_client.envs.cameras import (
    RENDER,
    Camera,
    check_pixels,
    check_renders,
    observation_path,
    part_of,
)
from lrm_client.envs.gymnasium_bases import AutoresetMode, VectorEnvWrapper, VectorWrapper
from lrm_client.envs.learner_episodes import LearnerEpisodes, Terminations
from lrm_client.envs.learner_rewards import LearnerRewards
from lrm_client.errors import RewardsFailed
from lrm_client.flows import Sender
from lrm_client.vector_base import Frames, FramesSource, VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lrm_client.envs.gymnasium_bases import AnyVectorEnv


class RewardVectorEnv(VectorEnvWrapper):
    """Environments whose rewards are ``(1 - weight) their own + weight the model's``.

    Frames are taken at resets and at the steps that the episode clock wants, and no others;
    ``SyncVectorEnv`` renders the environments that are due, others all of them. Environments
    that are reset at different steps are due together, unless ``phase`` says otherwise.

    Every autoreset mode has its terminal frame and its initial frame:

    - next step: an episode begins with the step after the last one's end. That step is no
      step of an episode: its reward is the environment's own, and ``info["lrm"]`` has step
      0 and ``valid`` False for it.
    - same step: the terminal frame is in ``infos["final_obs"]``, so the camera must be an
      observation; the episode begins with the observation that is returned.
    - disabled: the caller resets with ``options={"reset_mask": ...}``.

    ``info["lrm"]`` holds every step's parts, arrays (N,), see ``step_info``, each with its
    mask as Gymnasium has it. With the failure policy ``raise`` a step without a reward is an
    exception, after the environments were stepped; choose ``mask`` to go on, with NaN.

    Args:
        env: the environments, made with ``render_mode="rgb_array"`` for ``camera="render"``.
        client: a ``RewardClient``; it is not closed with the environments.
        task: the task in words, of all environments or of each; the attribute ``task``
            changes it for the episodes that begin after.
        heads: the heads that are asked; the first one pays, unless ``head`` says otherwise.
        camera: where frames come from.
        weight: share of the model in the reward, within 0 and 1.
        terminations: ``ignore``: episodes end at a fixed horizon, and a termination by the
            simulator, which environments that reset themselves cannot be kept from acting
            on, is an error; ``keep``: it ends the episode.
        deferred: ``step`` does not wait: its rewards are NaN, and ``gather`` returns them
            later.
        options: those of ``VectorEpisodes``; ``phase`` is ``aligned`` unless told otherwise.

    Raises:
        ImportError: Gymnasium is not installed.
        ValueError: an argument out of range, a camera that gives no frames, or environments
            that do not say how they reset.
    """

    def __init__(
        self,
        env: AnyVectorEnv,
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
        super().__init__(env)
        self._mode = _autoreset_mode(env)
        self._keeps = terminations == "keep"
        self._camera = camera
        self._path = None if callable(camera) else observation_path(camera)
        if self._path is not None:
            check_pixels(env.single_observation_space, self._path)
        elif self._mode is AutoresetMode.SAME_STEP:
            raise ValueError(
                "camera: environments that reset within the step have only the final "
                "observation left to show how an episode ended: choose "
                "camera='observation[/KEY...]', or another autoreset_mode"
            )
        elif not callable(camera):
            check_renders(env.render_mode)
        options.setdefault("phase", Phase.ALIGNED)
        self._episodes = LearnerEpisodes(
            client,
            env.num_envs,
            task,
            heads,
            weight=weight,
            terminations=terminations,
            deferred=deferred,
            **options,
        )
        self._ended = np.zeros(env.num_envs, np.bool_)

    @property
    def task(self) -> str | Sequence[str]:
        """The task in words; one that is set holds for the episodes that begin after."""
        return self._episodes.task

    @task.setter
    def task(self, task: str | Sequence[str]) -> None:
        self._episodes.task = task

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environments, or those of ``options["reset_mask"]``, bool (N,).

        Raises:
            LrmError: an episode could not be opened.
        """
        mask = None if options is None else options.get("reset_mask")
        begun = np.ones(self.num_envs, np.bool_) if mask is None else np.array(mask)
        # A copy: Gymnasium takes the mask out of the options that it is given.
        passed = None if options is None else dict(options)
        observations, infos = self.env.reset(seed=seed, options=passed)
        self._ended &= ~begun
        self._episodes.reset(self._frames(observations), begun)
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps the environments and their episodes.

        Raises:
            RewardsFailed: some environments have no reward, and the policy is ``raise``.
            LrmError: an episode that begins with this step could not be opened.
            EpisodeEnded: an environment that does not reset itself took its final step.
            RuntimeError: a termination, with ``terminations="ignore"``.
        """
        observations, own, terminations, truncations, infos = self.env.step(actions)
        if not self._keeps:
            _refuse_terminations(terminations)
        ended = np.logical_or(terminations, truncations)
        frames = last_frames = self._frames(observations)
        stepped, begun = np.ones_like(ended), np.zeros_like(ended)
        if self._mode is AutoresetMode.NEXT_STEP:
            stepped, begun = ~self._ended, self._ended
        elif self._mode is AutoresetMode.SAME_STEP:
            begun = ended
            last_frames = self._last_frames(observations, infos, ended)
        self._ended = ended
        failed: RewardsFailed | None = None
        try:
            paid, told = self._episodes.step(last_frames, own, final=ended, mask=stepped)
        except RewardsFailed as failure:
            failed = failure
        # Last, so that an episode is aligned with the step that follows its beginning.
        if begun.any():
            self._episodes.reset(frames, begun)
        if failed is not None:
            raise failed
        infos = {**infos, **_with_masks({"lrm": told}, self.num_envs)}
        return observations, paid, terminations, truncations, infos

    def gather(self) -> LearnerRewards:
        """Waits for the rewards of the T steps since the last time: arrays (T, N).

        Raises:
            RuntimeError: rewards are not deferred.
            RewardsFailed: some steps have no reward, and the policy is ``raise``.
        """
        return self._episodes.gather()

    def close(self, **options: Any) -> None:
        """Closes the episodes and the environments."""
        # Some Gymnasiums close what was refused while it was made, too.
        if hasattr(self, "_episodes"):
            self._episodes.close()
        self.env.close(**options)

    def _frames(self, observations: Any) -> FramesSource:
        """The frames of the state that the environments are in."""
        if callable(self._camera):
            return self._camera
        if self._path is not None:
            pixels: Frames = part_of(observations, self._path)
            return pixels
        return _rendered(self.env)

    def _last_frames(
        self, observations: Any, infos: dict[str, Any], ended: NDArray[np.bool_]
    ) -> FramesSource:
        """The frames of a step within which those that ended were reset."""
        if self._path is None or not ended.any():
            return self._frames(observations)
        path, pixels = self._path, part_of(observations, self._path)
        if "final_obs" not in infos:
            raise ValueError(
                "camera: episodes ended, and infos has no 'final_obs' to show how: choose "
                "another autoreset_mode"
            )
        last = infos["final_obs"]

        def frames(indices: NDArray[np.intp]) -> Frames:
            return [part_of(last[at], path) if ended[at] else pixels[at] for at in indices]

        return frames


def _rendered(env: AnyVectorEnv) -> FramesSource:
    """Renders the environments of the given indices alone, where the vector offers them."""
    inner = env
    while isinstance(inner, VectorWrapper) and type(inner).render is VectorWrapper.render:
        inner = inner.env
    single: Any = getattr(inner, "envs", None)
    if single is not None:
        return lambda indices: [single[at].render() for at in indices]
    shot: list[Any] = []

    def pick(indices: NDArray[np.intp]) -> Frames:
        # One picture of all serves both the steps and the resets of a call.
        if not shot:
            shot.extend(env.render() or ())
        return [shot[at] for at in indices]

    return pick


def _with_masks(info: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The infos of environments that all have them, as Gymnasium's wrappers read them."""
    masked: dict[str, Any] = {}
    for name, part in info.items():
        masked[name] = _with_masks(part, count) if isinstance(part, Mapping) else part
        masked[f"_{name}"] = np.ones(count, np.bool_)
    return masked


def _autoreset_mode(env: AnyVectorEnv) -> AutoresetMode:
    try:
        return AutoresetMode(env.metadata["autoreset_mode"])
    except (KeyError, ValueError) as error:
        raise ValueError(
            "env.metadata['autoreset_mode'] must be a gymnasium.vector.AutoresetMode, which says "
            "when the environments are reset"
        ) from error


def _refuse_terminations(terminations: NDArray[np.bool_]) -> None:
    if np.any(terminations):
        raise RuntimeError(
            f"terminations: environments {np.flatnonzero(terminations).tolist()} were terminated "
            "by their simulator, which tells the learner of success by the length of episodes, "
            "and they reset themselves: make each of them lrm_client.envs.single.FixedHorizon("
            "env, steps), or choose terminations='keep'"
        )
