"""A small checkpoint of the structure of the published one, and a base with processor files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from lrm_server.engine.broken_extensions import install
from lrm_server.engine.checkpoint_files import locate

install()

from transformers import AutoConfig, AutoTokenizer, Qwen3VLConfig, Qwen3VLModel  # noqa: E402

ADDED = 5
BINS = 10

# What Qwen3-VL's own template writes for users' turns, with its numbering of pictures.
TEMPLATE = """\
{%- set pictures = namespace(count=0) -%}
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for item in message['content'] -%}
{%- if item['type'] == 'image' -%}
{%- set pictures.count = pictures.count + 1 -%}
{%- if add_vision_id -%}Picture {{ pictures.count }}: {% endif -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}
{{ item['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


@dataclass(frozen=True)
class Published:
    """Where the checkpoint and its base lie."""

    checkpoint: Path
    base: Path


def make_base(folder: Path) -> Path:
    """Processor files alone: the embedded checkpoint's tokeniser under a template as Qwen3-VL's."""
    folder.mkdir(parents=True)
    embedded = locate("embedded")
    for name in ("tokenizer.json", "tokenizer_config.json", "video_preprocessor_config.json"):
        shutil.copy(embedded / name, folder)
    preparation = json.loads((embedded / "preprocessor_config.json").read_text())
    # Qwen3-VL's own bounds, which Robometer does not heed.
    preparation["size"] = {"shortest_edge": 65536, "longest_edge": 16777216}
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def config(base: Path, hidden: int) -> Qwen3VLConfig:
    """The embedded checkpoint's architecture with fewer layers and the added tokens."""
    small = AutoConfig.from_pretrained(locate("embedded"))
    text = small.text_config
    text.hidden_size, text.intermediate_size = hidden, 3 * hidden
    text.num_attention_heads = hidden // text.head_dim
    text.num_key_value_heads = text.num_attention_heads // 2
    small.vision_config.out_hidden_size = hidden
    small.text_config.vocab_size = len(AutoTokenizer.from_pretrained(base)) + ADDED
    small.text_config.num_hidden_layers = 2
    small.vision_config.depth = 3
    small.vision_config.deepstack_visual_indexes = [1]
    small.architectures = ["RFM"]
    return small


def tensors(small: Qwen3VLConfig, seed: int = 7) -> dict[str, torch.Tensor]:
    """Random weights; the heads' last layers are scaled so that answers spread over [0, 1]."""
    torch.manual_seed(seed)
    model = Qwen3VLModel(small)
    state = {f"model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if tensor.dim() > 1:
            # Frames must matter: at the usual scale a random model sees little of them.
            state[name] = torch.randn_like(tensor) * (0.9 / tensor[0].numel() ** 0.5)
    hidden = small.text_config.hidden_size
    for head, outputs in (("progress_head", BINS), ("success_head", 1), ("preference_head", 1)):
        inner = hidden // 2
        state[f"{head}.0.weight"] = torch.randn(inner, hidden) / hidden**0.5
        state[f"{head}.0.bias"] = 0.1 * torch.randn(inner)
        state[f"{head}.1.weight"] = 1 + 0.1 * torch.randn(inner)
        state[f"{head}.1.bias"] = 0.1 * torch.randn(inner)
        state[f"{head}.4.weight"] = torch.randn(outputs, inner) * 1.2 / (inner / 2) ** 0.5
        state[f"{head}.4.bias"] = 0.1 * torch.randn(outputs)
    state["frame_pool_attn.weight"] = torch.randn(1, hidden) / hidden**0.5
    return state


def make_checkpoint(
    folder: Path, base: Path, *, dtype: torch.dtype = torch.float32, hidden: int = 256
) -> Published:
    """Weights and config.json, and no processor files, as published; ``hidden`` is its width."""
    folder.mkdir(parents=True)
    small = config(base, hidden)
    small.dtype = dtype
    (folder / "config.json").write_text(small.to_json_string(use_diff=False))
    state = {name: tensor.to(dtype).contiguous() for name, tensor in tensors(small).items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return Published(folder, base)
