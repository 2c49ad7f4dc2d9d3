"""Qwen3-VL's forward pass, the same numbers in less time.

Hugging Face's model loops over images and embeds patches by a three-dimensional convolution, whose
backward pass is most of a training step on a CPU. Here frames of one size are one batch, and their
patches are embedded by a matrix product. tests/training compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

from training.architecture import MERGE, PATCH, PIXEL_MEAN, PIXEL_STD

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Qwen3VLForConditionalGeneration


@dataclass(frozen=True)
class Vision:
    """Encoded frames.

    Attributes:
        tokens: float (N, V, D), what stands in place of each frame's image tokens.
        deep: float (N, V, D) each, what is added to them after the first decoder layers
            (DeepStack).
    """

    tokens: Tensor
    deep: list[Tensor]


def _merge_order(rows: int, columns: int) -> Tensor:
    """Patch numbers (row-major) in the model's order, by merge blocks; int64 (rows * columns,)."""
    grid = torch.arange(rows * columns).view(rows // MERGE, MERGE, columns // MERGE, MERGE)
    return grid.permute(0, 2, 1, 3).reshape(-1)


def encode_frames(model: Qwen3VLForConditionalGeneration, frames: Tensor) -> Vision:
    """Encodes frames of one size.

    Args:
        model: the model.
        frames: uint8 or float (N, H, W, 3), pixel values 0 to 255; H / 16 rows and W / 16 columns
            of patches must be the grid of the learned positions.
    """
    visual: Any = model.model.visual
    count, height, width, _ = frames.shape
    rows, columns = height // PATCH, width // PATCH
    if rows * columns != visual.pos_embed.num_embeddings:
        raise ValueError(
            f"frames of {height}x{width} have not the grid that the positions were learnt on"
        )
    pixels = (frames.float() / 255 - PIXEL_MEAN) / PIXEL_STD
    patches = pixels.view(count, rows, PATCH, columns, PATCH, 3).permute(0, 1, 3, 5, 2, 4)
    order = _merge_order(rows, columns)
    patches = patches.reshape(count, rows * columns, -1)[:, order]
    # A still image is the same frame twice, so the two time slices of the kernel add up.
    weight = visual.patch_embed.proj.weight.sum(2).flatten(1)
    hidden = (
        functional.linear(patches, weight, visual.patch_embed.proj.bias)
        + visual.pos_embed.weight[order]
    )
    positions = torch.stack([order // columns, order % columns], dim=-1)
    cos, sin = visual.rotary_pos_emb(hidden, positions)
    deep = []
    for number, block in enumerate(visual.blocks):
        hidden = hidden + _attend(block.attn, block.norm1(hidden), cos, sin)
        hidden = hidden + block.mlp(block.norm2(hidden))
        if number in visual.deepstack_visual_indexes:
            merger = visual.deepstack_merger_list[
                list(visual.deepstack_visual_indexes).index(number)
            ]
            deep.append(merger(hidden).view(count, -1, visual.config.out_hidden_size))
    return Vision(visual.merger(hidden).view(count, -1, visual.config.out_hidden_size), deep)


def _attend(attention: Any, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Self-attention within each frame; hidden is float (N, P, D)."""
    count, length, size = hidden.shape
    parts = attention.qkv(hidden).view(count, length, 3, attention.num_heads, -1)
    query, key = apply_rotary_pos_emb_vision(parts[:, :, 0], parts[:, :, 1], cos, sin)
    value = parts[:, :, 2]
    # Written out: for so few tokens the fused kernel's backward pass takes longer than all else.
    scores = (query * attention.scaling).transpose(1, 2) @ key.permute(0, 2, 3, 1)
    mixed = scores.softmax(dim=-1).to(value.dtype) @ value.transpose(1, 2)
    return attention.proj(mixed.transpose(1, 2).reshape(count, length, size))


def positions_of(tokens: list[int], image_token: int, side: int) -> list[tuple[int, int, int]]:
    """Time, height and width position of every token; an image's tokens are side x side."""
    found: list[tuple[int, int, int]] = []
    now = index = 0
    while index < len(tokens):
        if tokens[index] == image_token:
            found.extend(
                (now, now + cell // side, now + cell % side) for cell in range(side * side)
            )
            now, index = now + side, index + side * side
        else:
            found.append((now, now, now))
            now, index = now + 1, index + 1
    return found


def decode(
    model: Qwen3VLForConditionalGeneration,
    tokens: Tensor,
    positions: Tensor,
    vision: Vision,
    images: Tensor,
) -> Tensor:
    """Runs the decoder and returns its normalised hidden states, float (B, L, D).

    Padding stands at the right, where causal attention never looks, so it needs no mask of its own.

    Args:
        model: the model.
        tokens: int64 (B, L).
        positions: int64 (3, B, L).
        vision: the encoded frames.
        images: int64 (I,), which frame each image of the batch is, in the order in which they stand
            in `tokens`.
    """
    language: Any = model.model.language_model
    here = tokens == model.config.image_token_id
    hidden = language.embed_tokens(tokens)
    spread = vision.tokens[images].flatten(0, 1).to(hidden.dtype)
    hidden = hidden.masked_scatter(here[..., None], spread)
    embeddings = language.rotary_emb(hidden, positions)
    length = tokens.shape[1]
    causal = torch.full((length, length), float("-inf")).triu(1)[None, None]
    for number, layer in enumerate(language.layers):
        hidden = layer(hidden, attention_mask=causal, position_embeddings=embeddings)
        if number < len(vision.deep):
            extra = torch.zeros_like(hidden)
            extra = extra.masked_scatter(
                here[..., None], vision.deep[number][images].flatten(0, 1).to(hidden.dtype)
            )
            hidden = hidden + extra
    return language.norm(hidden)
