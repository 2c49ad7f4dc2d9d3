"""Environments and policies by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.recorder import Act

RANDOM: Final = "random"


def make_environment(name: str, imports: Sequence[str], options: Mapping[str, Any]) -> Any:
    """Makes a Gymnasium environment that can be rendered.

    Args:
        name: as it is registered.
        imports: modules that register environments when they are imported.
        options: for ``gymnasium.make``; ``render_mode`` is ``rgb_array`` unless they say otherwise.

    Raises:
        RecordingError: Gymnasium or a module is not installed, or the environment cannot be made.
    """
    if importlib.util.find_spec("gymnasium") is None:
        raise RecordingError(
            "gymnasium is not installed: pip install gymnasium, and the environment's own package"
        )
    for module in imports:
        _import(module)
    gymnasium = importlib.import_module("gymnasium")
    try:
        return gymnasium.make(name, **{"render_mode": "rgb_array", **options})
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        raise RecordingError(
            f"the environment {name} cannot be made: {error}; is it registered by a module that "
            "must be imported?"
        ) from error


def steps_a_second(env: Any) -> float | None:
    """How many steps a second an environment says that it has."""
    rate = getattr(env.unwrapped, "control_freq", None) or env.metadata.get("render_fps")
    return float(rate) if rate else None


def make_policy(name: str, env: Any, seed: int) -> Act:
    """A policy: ``random``, or ``module:function``, which is called with the environment.

    Args:
        name: of the policy.
        env: that it acts in.
        seed: of the random policy.

    Raises:
        RecordingError: there is no such function, or it gives nothing that can be called.
    """
    if name == RANDOM:
        env.action_space.seed(seed)
        return lambda _: env.action_space.sample()
    module, _, function = name.partition(":")
    if not module or not function:
        raise RecordingError(f"policy {name!r} must be {RANDOM} or module:function")
    found = getattr(_import(module), function, None)
    if not callable(found):
        raise RecordingError(f"policy: {module} has no function {function!r}")
    act = found(env)
    if not callable(act):
        raise RecordingError(
            f"policy: {name} gave {type(act).__name__}: it must give what is called with an "
            "observation and answers with an action"
        )
    return act  # type: ignore[no-any-return]


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RecordingError(f"{module} cannot be imported: {error}") from error
