"""What is used of Gymnasium, or stand-ins that say what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from gymnasium import Env, Wrapper
    from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
    from gymnasium.wrappers import TimeLimit

    AnyEnv: TypeAlias = Env[Any, Any]
    AnyVectorEnv: TypeAlias = VectorEnv[Any, Any, Any]
    EnvWrapper: TypeAlias = Wrapper[Any, Any, Any, Any]
    VectorEnvWrapper: TypeAlias = VectorWrapper[Any, Any, Any, Any, Any]
else:

    class _Missing:
        """Stands for a class of a library that is not installed."""

        def __init__(self, *arguments: object) -> None:
            raise ImportError("this adapter needs Gymnasium: pip install 'gymnasium>=1.1'")

    try:
        from gymnasium import Wrapper
        from gymnasium.wrappers import TimeLimit
    except ImportError:
        Wrapper = TimeLimit = _Missing
    try:
        # Earlier than 1.1, vectors do not say how they reset.
        from gymnasium.vector import AutoresetMode, VectorWrapper
    except ImportError:
        AutoresetMode = VectorWrapper = _Missing
    # Gymnasium's classes take their parameters as types only.
    EnvWrapper, VectorEnvWrapper = Wrapper, VectorWrapper

__all__ = [
    "AutoresetMode",
    "EnvWrapper",
    "TimeLimit",
    "VectorEnvWrapper",
    "VectorWrapper",
    "Wrapper",
]
