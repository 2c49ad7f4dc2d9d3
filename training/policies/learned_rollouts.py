"""Episodes of the policies that PPO made of a clone, recorded as the learner acts and is paid.

The same initial states for every policy, on seeds that no learner and no evaluation has; frames a
tenth of an episode apart, labelled by the simulator's state.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from tqdm import tqdm

from training import frame_folders
from training.dataset import episode_of
from training.policies.compare_rewards import EXAMPLES, HORIZON
from training.rollouts.labels import load_calibrations
from training.rollouts.simulate import Stage
from training.tasks import TASK_BY_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

    from training.rollouts.labels import Calibrations

FIRST_SEED: Final = 62_000
QUALITY: Final = 90
# `lrm eval` takes the accuracy of direction between frames a tenth of an episode apart.
STRIDE: Final = HORIZON // 10


def learner_module() -> ModuleType:
    """The learner of client/examples, which is a script of its own."""
    sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module("ppo_maniskill")


@dataclass(frozen=True)
class Run:
    """One run of the learner: its folder, and the seeds of the episodes that it is shown in."""

    folder: Path
    seeds: range


class Recording:
    """One task's simulator, in which policies of the learner act.

    Args:
        env_id: the task.
        demonstrations: folder of the demonstrations that the start is cloned from.
        calibrations: file of the labels' calibrations.

    Raises:
        FileNotFoundError: there are no calibrations.
    """

    def __init__(self, env_id: str, demonstrations: Path, calibrations: Path) -> None:
        self._ppo: Any = learner_module()
        self._demonstrations = demonstrations
        self._calibrations: Calibrations = load_calibrations(calibrations)
        self._stage = Stage(
            TASK_BY_ID[env_id], control_mode=self._ppo.CONTROL_MODE, obs_mode="state"
        )

    def record(self, runs: Sequence[Run], to: Path, *, start: bool) -> None:
        """Writes the runs' episodes under `to`, those that are not there yet.

        Args:
            runs: of one reward.
            to: the data set.
            start: let the policy act that the runs began with, not the one they ended with.
        """
        for run in runs:
            saved = torch.load(run.folder / "checkpoint.pt", weights_only=True)
            args = self._ppo.Args(**saved["arguments"], demonstrations=self._demonstrations)
            agent = self._ppo.clone(args, torch.device("cpu"))
            if not start:
                agent.load_state_dict(saved["agent"])
            for seed in tqdm(run.seeds, desc=to.name, mininterval=5):
                # Its JSON is written last.
                if not any(to.glob(f"*_{seed}/episode.json")):
                    self._record(agent, args, seed, to)

    def _record(self, agent: Any, args: Any, seed: int, to: Path) -> None:
        @torch.no_grad()
        def act(env: Any, seed: int) -> None:
            observation, _ = env.reset(seed=seed)
            torch.manual_seed(seed)
            for step in range(HORIZON):
                # With the noise that it learns with.
                action = agent.act(self._ppo.timed(observation, step, args)).sample()
                observation, *_ = env.step(self._ppo.taken(action, args))

        rollout = self._stage.record(seed, act, "learned", stride=STRIDE)
        episode = episode_of(rollout, self._calibrations)
        every_frame = [int(index) for index in np.arange(len(episode.steps))]
        frame_folders.write(episode, every_frame, to, QUALITY)

    def close(self) -> None:
        """Releases the simulator."""
        self._stage.close()
