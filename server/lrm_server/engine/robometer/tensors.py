"""Whether a checkpoint holds the tensors of a Robometer, all of them and no others."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from transformers import AutoConfig, Qwen3VLConfig, Qwen3VLModel

from lrm_server.engine.checkpoint_files import tensor_shapes
from lrm_server.engine.robometer.structure import ARCHITECTURE, FRAME_POOLING, HEAD_OUTPUTS
from lrm_server.errors import DomainError, invalid

_SHOWN = 8


def is_robometer(checkpoint: Path) -> bool:
    """Whether a folder's config.json names Robometer's architecture."""
    try:
        config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("architectures") == [ARCHITECTURE]


def read_config(checkpoint: Path) -> Qwen3VLConfig:
    """The backbone's configuration.

    Raises:
        DomainError: INVALID_ARGUMENT of ``model`` when it is no Qwen3-VL's.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
    except (OSError, ValueError) as error:
        raise invalid("model", f"{checkpoint} has no config.json that can be read: {error}") from (
            error
        )
    if not isinstance(config, Qwen3VLConfig):
        raise invalid(
            "model",
            f"the backbone of {checkpoint} is a {config.model_type}; lrm serves Robometers on "
            "qwen3_vl.",
        )
    return config


def check_tensors(checkpoint: Path) -> None:
    """Compares names and shapes with those that the architecture has.

    Raises:
        DomainError: INVALID_ARGUMENT of ``model`` naming tensors that are missing,
            unknown, or of another shape.
    """
    wanted = _wanted(read_config(checkpoint))
    try:
        found = tensor_shapes(checkpoint)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise invalid("model", f"{checkpoint} has weights that are no safetensors: {error}") from (
            error
        )
    if missing := sorted(wanted.keys() - found.keys()):
        raise _refused(missing, "are missing: the download or the conversion is not complete.")
    if unknown := sorted(found.keys() - wanted.keys()):
        raise _refused(
            unknown, "are unknown, and would be left out without a word: this is another model."
        )
    other = [
        f"{name} {found[name]}, not {wanted[name]}"
        for name in sorted(wanted)
        if found[name] != wanted[name]
    ]
    if other:
        raise _refused(other, "have other shapes than config.json and ten bins of progress ask.")


def _wanted(config: Qwen3VLConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        backbone = Qwen3VLModel(config)  # type: ignore[no-untyped-call]
    shapes = {f"model.{name}": tuple(each.shape) for name, each in backbone.state_dict().items()}
    hidden = int(config.get_text_config().hidden_size)
    inner = hidden // 2
    for head, outputs in HEAD_OUTPUTS.items():
        shapes |= {
            f"{head}.0.weight": (inner, hidden),
            f"{head}.0.bias": (inner,),
            f"{head}.1.weight": (inner,),
            f"{head}.1.bias": (inner,),
            f"{head}.4.weight": (outputs, inner),
            f"{head}.4.bias": (outputs,),
        }
    shapes[f"{FRAME_POOLING}.weight"] = (1, hidden)
    return shapes


def _refused(tensors: list[str], cause: str) -> DomainError:
    shown = ", ".join(tensors[:_SHOWN])
    more = f" and {len(tensors) - _SHOWN} more" if len(tensors) > _SHOWN else ""
    return invalid("model", f"the checkpoint is refused: {shown}{more} {cause}")
