"""Makes vLLM's vision tower fast on a CPU: what is equal for many images is done once.

vLLM 0.32 attends to one image after another on the CPU
(v1/attention/ops/vit_attn_wrappers.py, ``torch_sdpa_wrapper``) and interpolates the
position embeddings of every image anew (models/qwen3_vl.py,
``fast_pos_embed_interpolate``). Frames of a batch are of one size nearly always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import torch
from cachetools import LRUCache
from torch.nn.functional import scaled_dot_product_attention
from vllm.model_executor.custom_op import CustomOp, op_registry_oot
from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention
from vllm.model_executor.models.qwen3_vl import (
    Qwen3_VisionTransformer,
    Qwen3VLForConditionalGeneration,
)

from lrm_server.engine import cpu_packing
from lrm_server.engine.cpu_tower import Encode, frames_once

MAX_BYTES: Final = 64 * 1024**2
PRODUCT_PATCHES: Final = 256
"""Of an image; with more, two products and a softmax are slower than PyTorch's one call.

On two cores, bfloat16, 3 heads of 64: 23 images of 64 patches 0.65 instead of 0.85 ms, 16 of
256 patches 5.5 instead of 5.9, 2 of 1200 patches 16 instead of 14.
"""
LEAST_WEIGHTS: Final = 64 * 1024
"""Of all images; with fewer, the several calls cost more than they save."""
MOST_WEIGHTS: Final = 1024**2
"""At a time, so that they stay in the cache: 4 MiB in float32 and 2 in bfloat16."""
Interpolate: TypeAlias = Callable[[torch.nn.Module, Sequence[Sequence[int]]], torch.Tensor]


class BatchedEncoderAttention(MMEncoderAttention):
    """Attends within each image, in one call where all have as many patches."""

    def forward_cpu(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seqlens: torch.Tensor | None = None,
        max_seqlen: torch.Tensor | None = None,
        sequence_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of images that lie one behind the other.

        Args:
            query: (1, patches, heads, head size), or (1, patches, heads x head size).
            key: likewise.
            value: likewise.
            cu_seqlens: (images + 1,): where each image begins, and the end of the last.
            max_seqlen: not needed.
            sequence_lengths: not needed.

        Returns:
            As ``query``.
        """
        images = 1 if cu_seqlens is None else cu_seqlens.numel() - 1
        patches = query.shape[0] * query.shape[1] // images
        if cu_seqlens is None or images == 1 or not _equal(cu_seqlens, patches):
            attended: torch.Tensor = super().forward_cpu(query, key, value, cu_seqlens)
            return attended
        queries, keys, values = (
            each.view(images, patches, heads, self.head_size).transpose(1, 2)
            for each, heads in (
                (query, self.num_heads),
                (key, self.num_kv_heads),
                (value, self.num_kv_heads),
            )
        )
        if (
            query.dtype == torch.bfloat16
            and cpu_packing.supported()
            and self.num_kv_heads == self.num_heads
            and patches <= PRODUCT_PATCHES
            and images * self.num_heads * patches**2 >= LEAST_WEIGHTS
        ):
            found = attend_by_products(queries, keys, values, self.scale)
        else:
            found = scaled_dot_product_attention(
                queries,
                keys,
                values,
                scale=self.scale,
                enable_gqa=self.num_heads > self.num_kv_heads,
            )
        return found.transpose(1, 2).reshape(query.shape)


def attend_by_products(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention as a product, a softmax and a product.

    Scores are float32: in bfloat16 those of a sharp softmax would make six times the error.
    One call takes as many images as have ``MOST_WEIGHTS``, and at least one.

    Args:
        queries: bfloat16 (images, heads, patches, head size).
        keys: likewise.
        values: likewise.
        scale: of the scores.

    Returns:
        As ``queries``; each image's (patches, heads, head size) lies together.
    """
    _, heads, patches, size = queries.shape
    at_once = max(1, MOST_WEIGHTS // (heads * patches**2))
    parts = (torch.split(each, at_once) for each in (queries, keys, values))
    found = []
    for query, key, value in zip(*parts, strict=True):
        query, key = (
            each.to(torch.float32, memory_format=torch.contiguous_format).view(-1, patches, size)
            for each in (query, key)
        )
        scores = torch.baddbmm(query.new_empty(()), query, key.transpose(1, 2), beta=0, alpha=scale)
        weights = scores.softmax(-1).to(value.dtype)
        attended = torch.bmm(weights, value.reshape(-1, patches, size)).view(value.shape)
        found.append(attended.transpose(1, 2))
    return torch.cat(found).transpose(1, 2)


def install() -> None:
    """Puts all of it in place of vLLM's own, for models that this process loads from now on."""
    if MMEncoderAttention.__name__ not in op_registry_oot:
        CustomOp.register_oot(BatchedEncoderAttention, name=MMEncoderAttention.__name__)
        method = "fast_pos_embed_interpolate"
        known = positions_once(getattr(Qwen3_VisionTransformer, method))
        setattr(Qwen3_VisionTransformer, method, known)
        for method in ("_process_image_input", "_process_video_input"):
            encode = getattr(Qwen3VLForConditionalGeneration, method)
            setattr(Qwen3VLForConditionalGeneration, method, each_by_itself(encode))
        method = "_process_image_input"
        encode = getattr(Qwen3VLForConditionalGeneration, method)
        setattr(Qwen3VLForConditionalGeneration, method, frames_once(encode))


def each_by_itself(encode: Encode) -> Encode:
    """Copies what a batch was encoded to, image by image.

    They come as views of one tensor (models/qwen3_vl.py), and an image that is kept for
    long would keep the whole batch.
    """

    def encode_apart(model: torch.nn.Module, media: Any) -> tuple[torch.Tensor, ...]:
        return tuple(each.clone() for each in encode(model, media))

    return encode_apart


def positions_once(interpolate: Interpolate) -> Interpolate:
    """Interpolates the position embeddings of each size of image once.

    Holds, for each tower, those (patches, hidden size) of the sizes that were seen last,
    up to ``MAX_BYTES``.
    """
    kept: WeakKeyDictionary[torch.nn.Module, LRUCache[tuple[int, ...], torch.Tensor]]
    kept = WeakKeyDictionary()

    def fast_pos_embed_interpolate(
        tower: torch.nn.Module, grid_thw: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        known = kept.setdefault(tower, LRUCache(MAX_BYTES, getsizeof=lambda each: each.nbytes))
        found = []
        for size in map(tuple, grid_thw):
            if (positions := known.get(size)) is None:
                positions = interpolate(tower, [size])
                if positions.nbytes <= MAX_BYTES:
                    known[size] = positions
            found.append(positions)
        return torch.cat(found)

    return fast_pos_embed_interpolate


def _equal(bounds: torch.Tensor, length: int) -> bool:
    return bool((bounds.diff() == length).all())
