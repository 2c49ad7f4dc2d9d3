"""The part of LeRobot that the adapter stands on, without LeRobot.

What is LeRobot's here was read in its sources, 0.6.1: configs register by name and are written
with their type, reward models are torch modules that must name themselves and their config's
class, and its factories find a model and its processors by the names of modules and classes.
"""

from __future__ import annotations

import abc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

ADAPTER = "lrm_client.envs.lerobot"


@dataclass
class StubConfig:
    input_features: dict[str, Any] = field(default_factory=dict)
    output_features: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    pretrained_path: str | None = None

    def __post_init__(self) -> None:
        self.device = self.device or "cpu"

    @classmethod
    def register_subclass(cls, name: str) -> Callable[[type], type]:
        def register(subclass: type) -> type:
            cls.choices[name] = subclass
            return subclass

        return register

    @property
    def type(self) -> str:
        return next(name for name, kind in self.choices.items() if kind is type(self))

    def _save_pretrained(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({"type": self.type, **asdict(self)}))

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> StubConfig:
        saved = json.loads((Path(folder) / "config.json").read_text())
        return cls.choices[saved.pop("type")](**saved)


# No annotation: of a dataclass it would be a field.
StubConfig.choices = {}


class StubModel(torch.nn.Module, abc.ABC):
    def __init__(self, config: StubConfig) -> None:
        super().__init__()
        if not isinstance(config, StubConfig):
            raise ValueError("config should be an instance of RewardModelConfig")  # noqa: TRY004
        self.config = config

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("config_class", "name"):
            if not getattr(cls, name, None):
                raise TypeError(f"Class {cls.__name__} must define {name!r}")

    def save_pretrained(self, folder: str | Path) -> None:
        self._save_pretrained(Path(folder))

    @abc.abstractmethod
    def compute_reward(self, batch: dict[str, Any]) -> torch.Tensor: ...


def _made(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    vars(module).update(contents)
    return module


def _stub() -> dict[str, ModuleType]:
    def make_reward_model_config(kind: str, **options: Any) -> StubConfig:
        return StubConfig.choices[kind](**options)

    def make_reward_model(config: StubConfig, **options: Any) -> StubModel:
        kind = type(config)
        module = import_module(kind.__module__.replace("configuration_", "modeling_"))
        model = getattr(module, f"{kind.__name__.removesuffix('Config')}RewardModel")
        if config.pretrained_path:
            options["pretrained_name_or_path"] = config.pretrained_path
            return model.from_pretrained(config=config, **options)
        return model(config=config, **options)

    return {
        "lerobot": _made("lerobot"),
        "lerobot.configs": _made("lerobot.configs"),
        "lerobot.configs.rewards": _made("lerobot.configs.rewards", RewardModelConfig=StubConfig),
        "lerobot.rewards": _made(
            "lerobot.rewards",
            make_reward_model=make_reward_model,
            make_reward_model_config=make_reward_model_config,
        ),
        "lerobot.rewards.pretrained": _made(
            "lerobot.rewards.pretrained", PreTrainedRewardModel=StubModel
        ),
    }


def _taken(top: str) -> dict[str, ModuleType]:
    """The imported modules of a package, which are forgotten."""
    names = [name for name in sys.modules if name == top or name.startswith(f"{top}.")]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def stand_in() -> Iterator[ModuleType]:
    """The adapter, imported on the stand-in; what was imported before comes back after."""
    before = {**_taken("lerobot"), **_taken(ADAPTER)}
    sys.modules.update(_stub())
    try:
        yield import_module(ADAPTER)
    finally:
        _taken("lerobot")
        _taken(ADAPTER)
        sys.modules.update(before)
