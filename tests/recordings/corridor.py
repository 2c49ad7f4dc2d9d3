"""A small environment of Gymnasium's interface, and policies for it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from tests.recordings.made import grey

LENGTH = 6
LIMIT = 8


class Tensor:
    """What of a torch tensor is used: it lies on a device, and has a batch dimension of one."""

    def __init__(self, value: Any) -> None:
        self._value = np.asarray(value)[None]

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self._value


class Actions:
    """Steps of -1, 0 or 1."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()

    def seed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def sample(self) -> int:
        return int(self.rng.integers(-1, 2))


class Corridor:
    """Walk from ``seed % 3`` to the end at 6; the picture's grey tells the place and the step.

    Args:
        tensors: give batched tensors, as ManiSkill does.
        says: the key under which infos tell success; "" for none.
        says_at_end: infos tell it only when the episode is over.
    """

    metadata: ClassVar = {"render_fps": 10}

    def __init__(
        self, *, tensors: bool = False, says: str = "success", says_at_end: bool = False
    ) -> None:
        self.action_space = Actions()
        self.unwrapped = SimpleNamespace()
        self.renders = 0
        self.closed = False
        self._as = Tensor if tensors else np.asarray
        self._says = says
        self._at_end = says_at_end

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.place = (seed or 0) % 3
        self.steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.place = int(np.clip(self.place + int(np.asarray(action).reshape(-1)[0]), 0, LENGTH))
        self.steps += 1
        there = self.place == LENGTH
        truncated = self.steps == LIMIT and not there
        info: dict[str, Any] = {}
        if self._says and (there or truncated or not self._at_end):
            info[self._says] = self._as(there)
        return (
            self._observation(),
            self._as(self.place / LENGTH),
            self._as(there),
            self._as(truncated),
            info,
        )

    def render(self) -> Any:
        self.renders += 1
        return self._as(self._picture())

    def close(self) -> None:
        self.closed = True

    def _picture(self) -> np.ndarray:
        return grey(30 * self.place + self.steps)

    def _observation(self) -> dict[str, Any]:
        return {"place": self.place, "sensor": {"eye": {"rgb": self._as(255 - self._picture())}}}


def walk(env: Any) -> Callable[[Any], Any]:
    """Always ahead."""
    return lambda observation: np.array([1.0], np.float32)


def stay(env: Any) -> Callable[[Any], Any]:
    """Never moves."""
    return lambda observation: np.array([0.0], np.float32)


not_a_function = 3


def gives_nothing(env: Any) -> None:
    return None
