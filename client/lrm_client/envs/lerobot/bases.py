"""What is used of LeRobot, or stand-ins that say what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass, field
    from pathlib import Path

    import torch

    ClassT = TypeVar("ClassT", bound=type)

    @dataclass
    class RewardModelConfig:
        """``lerobot.configs.rewards.RewardModelConfig``, as far as it is used here."""

        input_features: dict[str, Any] = field(default_factory=dict)
        output_features: dict[str, Any] = field(default_factory=dict)
        device: str | None = None
        pretrained_path: str | None = None

        def __post_init__(self) -> None: ...

        @classmethod
        def register_subclass(cls, name: str) -> Callable[[ClassT], ClassT]:
            """Gives a subclass its type's name."""

        @classmethod
        def from_pretrained(
            cls, pretrained_name_or_path: str | Path, **options: Any
        ) -> RewardModelConfig:
            """Reads ``config.json``, of whichever type it is."""

        def _save_pretrained(self, save_directory: Path) -> None: ...

    class PreTrainedRewardModel(torch.nn.Module):
        """``lerobot.rewards.pretrained.PreTrainedRewardModel``, as far as it is used here."""

        def __init__(self, config: RewardModelConfig) -> None: ...

else:
    try:
        from lerobot.configs.rewards import RewardModelConfig
        from lerobot.rewards.pretrained import PreTrainedRewardModel
    except ImportError as error:
        _REASON = f"this adapter needs LeRobot: pip install 'lerobot>=0.6' ({error})"

        class _Missing:
            """Stands for a class of LeRobot's where it cannot be imported."""

            def __init__(self, *arguments: object, **options: object) -> None:
                raise ImportError(_REASON)

            def __post_init__(self) -> None:
                # What a dataclass calls instead of its base's ``__init__``.
                raise ImportError(_REASON)

            @classmethod
            def register_subclass(cls, name: str) -> object:
                return lambda subclass: subclass

            @classmethod
            def from_pretrained(cls, *arguments: object, **options: object) -> None:
                raise ImportError(_REASON)

        RewardModelConfig = PreTrainedRewardModel = _Missing

__all__ = ["PreTrainedRewardModel", "RewardModelConfig"]
