"""LoRA adapters: one whose tensors would not all be applied is refused.

vLLM leaves out what it does not know: tensors of the vision tower while LoRA on
the tower is off, tensors whose module does not exist, patterns of rank and
alpha. The adapter would then answer almost like the base model and look
healthy. Everything is checked against the checkpoint's own tensors before the
adapter is served.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from lrm_server.engine.checkpoint_files import tensor_shapes
from lrm_server.errors import DomainError, invalid

_KEY: Final = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# What PEFT can write and vLLM does not apply; each must be absent or empty.
_UNSUPPORTED: Final = (
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "use_dora",
    "use_qalora",
    "lora_bias",
    "layer_replication",
    "alora_invocation_tokens",
    "target_parameters",
    "fan_in_fan_out",
)
# Initialisations that change the base as well, which only PEFT's conversion undoes.
_BASE_CHANGING: Final = ("pissa", "olora", "corda", "eva", "loftq")
WEIGHTS: Final = "adapter_model.safetensors"
MAX_RANK: Final = 512


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that was checked.

    Attributes:
        name: by which heads refer to it.
        folder: where its files lie.
        rank: its r.
    """

    name: str
    folder: Path
    rank: int


def check_adapter(name: str, folder: Path, checkpoint: Path) -> Adapter:
    """Checks an adapter in PEFT's format against the checkpoint it will be put on.

    Raises:
        DomainError: INVALID_ARGUMENT naming the adapter and the keys at fault.
    """
    config = _read_config(name, folder)
    for key in _UNSUPPORTED:
        if config.get(key):
            raise _refused(
                name, key, f"{key} is {config[key]!r}: merge the adapter into its base instead."
            )
    if config.get("bias", "none") != "none":
        raise _refused(name, "bias", f"bias is {config['bias']!r}: train it with bias none.")
    start = str(config.get("init_lora_weights", ""))
    if start.startswith(_BASE_CHANGING):
        raise _refused(
            name,
            "init_lora_weights",
            f"it was started as {start}, which changes the base: convert it to plain LoRA.",
        )
    rank = config["r"]
    if not isinstance(rank, int) or not 1 <= rank <= MAX_RANK:
        raise _refused(name, "r", f"its rank is {rank!r}; it must lie in 1 to {MAX_RANK}.")
    try:
        shapes = tensor_shapes(folder)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise _refused(name, WEIGHTS, f"the file is no safetensors file ({error}).") from error
    modules = _paired_modules(name, shapes)
    base = tensor_shapes(checkpoint)
    _check_modules(name, modules, base)
    _check_shapes(name, modules, base, rank)
    _check_values(name, folder)
    return Adapter(name, folder, rank)


Modules = dict[str, dict[str, tuple[int, ...]]]
"""Module -> side (A or B) -> shape."""


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    if not path.is_file() or [file.name for file in folder.glob("*.safetensors")] != [WEIGHTS]:
        raise _refused(
            name,
            "",
            f"{folder} needs adapter_config.json and {WEIGHTS} and no other weights (PEFT's "
            "format).",
        )
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise _refused(name, path.name, f"the file is no JSON ({error}).") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or "r" not in config:
        raise _refused(name, "peft_type", "adapter_config.json describes no LoRA adapter.")
    return config


def _paired_modules(name: str, shapes: dict[str, tuple[int, ...]]) -> Modules:
    modules: Modules = {}
    unknown = []
    for key, shape in shapes.items():
        match = _KEY.fullmatch(key)
        if match is None:
            unknown.append(key)
        else:
            modules.setdefault(match["module"], {})[match["side"]] = shape
    if unknown:
        raise _refused(name, unknown, "these keys are no lora_A or lora_B of a module.")
    if halves := [module for module, sides in modules.items() if len(sides) != 2]:
        raise _refused(name, halves, "these modules have only one of lora_A and lora_B.")
    if not modules:
        raise _refused(name, "", "it holds no tensors.")
    return modules


def _check_modules(name: str, modules: Modules, base: dict[str, tuple[int, ...]]) -> None:
    if tower := [module for module in modules if ".visual." in f".{module}."]:
        raise _refused(
            name,
            tower,
            "these modules belong to the vision tower, to which LoRA is not applied: merge the "
            "adapter into its base.",
        )
    unknown = [
        module
        for module in modules
        if len(base.get(f"{module}.weight", ())) != 2
        or ".language_model.layers." not in f".{module}."
    ]
    if unknown:
        raise _refused(
            name,
            unknown,
            "the checkpoint has no such linear layers in its language model: the adapter was "
            "trained for another model, or its keys were renamed.",
        )


def _check_shapes(name: str, modules: Modules, base: dict[str, tuple[int, ...]], rank: int) -> None:
    wrong = []
    for module, sides in modules.items():
        outputs, inputs = base[f"{module}.weight"]
        if sides["A"] != (rank, inputs) or sides["B"] != (outputs, rank):
            wrong.append(f"{module} (A {sides['A']}, B {sides['B']})")
    if wrong:
        raise _refused(name, wrong, f"these do not fit rank {rank} and the checkpoint's layers.")


def _check_values(name: str, folder: Path) -> None:
    zero, broken = [], []
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - no mapping
            tensor = file.get_tensor(key)
            if not bool(tensor.isfinite().all()):
                broken.append(key)
            elif ".lora_B." in key and not bool(tensor.any()):
                zero.append(key)
    if broken:
        raise _refused(name, broken, "these hold numbers that are not finite.")
    if zero:
        raise _refused(
            name,
            zero,
            "these lora_B are all zero: they change nothing, so they were "
            "not trained or not saved.",
        )


def _refused(name: str, keys: str | list[str], cause: str) -> DomainError:
    if isinstance(keys, str):
        what = keys
    else:
        shown = ", ".join(keys[:8])
        what = f"{shown} and {len(keys) - 8} more" if len(keys) > 8 else shown
    return invalid(
        f"adapters.{name}", f"adapter {name} is refused: {what + ': ' if what else ''}{cause}"
    )
