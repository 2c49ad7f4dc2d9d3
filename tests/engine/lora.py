"""LoRA adapters in PEFT's format, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lrm_server.engine.checkpoint_files import tensor_shapes

RANK, ALPHA = 4, 8
PREFIX = "base_model.model."


def make_adapter(folder: Path, checkpoint: Path, seed: int, size: float = 0.3) -> Path:
    """A random adapter on every attention and feed-forward layer of the decoder."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in tensor_shapes(checkpoint).items():
        if ".language_model.layers." in name and name.endswith("_proj.weight"):
            outputs, inputs = shape
            module = PREFIX + name.removesuffix(".weight")
            a = torch.randn(RANK, inputs, generator=generator) / inputs**0.5
            b = torch.randn(outputs, RANK, generator=generator) * size / RANK
            tensors |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    folder.mkdir(parents=True)
    write_adapter(folder, tensors)
    return folder


def write_adapter(folder: Path, tensors: dict[str, torch.Tensor], **config: object) -> None:
    """Tensors and configuration as PEFT saves them."""
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted({key.removesuffix(".weight").split(".")[-2] for key in tensors})
    written = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": targets,
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(written))


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """An adapter's tensors."""
    return load_file(folder / "adapter_model.safetensors")


def deltas(folder: Path) -> dict[str, torch.Tensor]:
    """Weight name -> what merging the adapter adds to it."""
    tensors = read_tensors(folder)
    return {
        key.removeprefix(PREFIX).replace(".lora_A.weight", ".weight"): (ALPHA / RANK)
        * tensors[key.replace("lora_A", "lora_B")]
        @ a
        for key, a in tensors.items()
        if ".lora_A." in key
    }
