"""A cloned policy acts in the simulator, for a fixed number of steps, and is disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.policies.clone import DONE_AT_ONCE
from training.policies.observation import ARM, displaced, joints_of, observe
from training.rollouts.features import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.policies.clone import Clone
    from training.tasks import Task

# How slowly the noise on the actions changes: its correlation from one step to the next.
NOISE_MEMORY: Final = 0.9
# A burst of noise, and an opened gripper, last so many steps.
BURST_STEPS: Final = 15
OPENED_STEPS: Final = 12
# Radians of noise in a burst, metres that a policy is misled by, metres a second of a shove.
BURST: Final = (0.08, 0.2)
MISLED: Final = (0.025, 0.09)
SHOVE: Final = (0.3, 0.9)
KINDS: Final = ("misled", "burst", "shoved", "opened")
OPEN: Final = 1.0


class Unrecorded:
    """An environment whose state is measured only where it is looked at, for what is not filmed."""

    def __init__(self, env: Any, task: Task) -> None:
        self._task = task
        self.unwrapped = env.unwrapped
        self.reset = env.reset
        self.step = env.step

    @property
    def rows(self) -> list[NDArray[np.float32]]:
        """The features of the current state alone, as a Recorder has those of all states."""
        return [measure(self.unwrapped, self._task)]

    @property
    def success(self) -> bool:
        """Whether the task is done in the current state."""
        return bool(self.rows[-1][-1] > 0.5)


@dataclass(frozen=True)
class Upset:
    """What happens to a policy in an episode; the default is nothing.

    Attributes:
        kind: one of KINDS, or empty.
        noise: standard deviation of the noise on all joint targets, in radians.
        at: step at which it happens; a policy is misled from a quarter of it on.
        burst: standard deviation of the noise of a burst, in radians.
        by: metres that object and goal are seen from where they are, or metres a second that the
            object is shoved with.
    """

    kind: str = ""
    noise: float = 0.0
    at: int = 0
    burst: float = 0.0
    by: tuple[float, float, float] = (0.0, 0.0, 0.0)


def draw_upset(task: Task, seed: int, noise: float, horizon: int, share: float) -> Upset:
    """What happens in an episode of a seed: nothing, but for a `share` of the seeds."""
    rng = np.random.default_rng([seed, 12, sum(task.env_id.encode())])
    if rng.random() >= share:
        return Upset(noise=noise)
    kind = str(rng.choice(KINDS if task.grasps else KINDS[:-1]))
    size = rng.uniform(*(SHOVE if kind == "shoved" else MISLED))
    angle = rng.uniform(0, 2 * np.pi)
    return Upset(
        kind,
        noise,
        at=int(horizon * rng.uniform(0.1, 0.8)),
        burst=float(rng.uniform(*BURST)),
        by=(float(size * np.cos(angle)), float(size * np.sin(angle)), 0.0),
    )


def actor(policy: Clone, task: Task, horizon: int, upset: Upset) -> Callable[[Any, int], None]:
    """Lets a policy act for `horizon` steps in a Recorder, whatever happens there."""

    def act(env: Any, seed: int) -> None:
        env.reset(seed=seed)
        rng = np.random.default_rng([seed, 13])
        drift: NDArray[np.float64] = np.zeros(ARM)
        chunk: NDArray[np.float32] = np.zeros((0, ARM + 1), np.float32)
        for step in range(horizon):
            if step % DONE_AT_ONCE == 0:
                row = env.rows[-1]
                if upset.kind == "misled" and step >= upset.at // 4:
                    row = displaced(row, np.array(upset.by, np.float32))
                chunk = policy.plan(observe(joints_of(env), row))
            since = step - upset.at
            if upset.kind == "shoved" and since == 0:
                _shove(env, task, upset.by)
            in_burst = upset.kind == "burst" and 0 <= since < BURST_STEPS
            noise = upset.burst if in_burst else upset.noise
            fresh = rng.standard_normal(ARM) * noise * np.sqrt(1 - NOISE_MEMORY**2)
            drift = NOISE_MEMORY * drift + fresh
            action = chunk[step % DONE_AT_ONCE].astype(np.float64)
            action[:ARM] += drift
            if upset.kind == "opened" and 0 <= since < OPENED_STEPS:
                action[ARM] = OPEN
            env.step(action)

    return act


def _shove(env: Any, task: Task, by: tuple[float, float, float]) -> None:
    """Gives the object a speed, as a knock would."""
    from mani_skill.utils.structs import Actor

    thing: Actor = getattr(env.unwrapped, task.object_actor)
    thing.set_linear_velocity(np.array([by], np.float32))
