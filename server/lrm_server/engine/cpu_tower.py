"""Qwen3-VL's vision tower on a CPU, in fewer passes over memory.

On a CPU a pass over the activations of a step costs as much as a small matrix product. vLLM
0.32 gives biases, GELU and residuals passes of their own (models/qwen3_vl.py), normalises
pixels in float32 and multiplies both of an image's temporal halves, which are equal. Here
oneDNN's products apply what follows them, and the first layer's weights normalise.

What of a tower is not bfloat16, plain and whole (another dtype, quantized, under an adapter,
shared among processes) or has no such products on this processor stays vLLM's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import torch
from vllm.model_executor.layers.conv import Conv3dLayer
from vllm.model_executor.layers.fusion.mm_input_norm import FusedMMInputNorm, IdentityInputNorm
from vllm.model_executor.models.qwen3_vl import (
    Qwen3_VisionBlock,
    Qwen3_VisionPatchEmbed,
    Qwen3_VisionPatchMerger,
    Qwen3_VisionTransformer,
)

from lrm_server.engine import cpu_packing
from lrm_server.engine.cpu_packing import PackedWeight, packed

CENTRE: Final = 127.5

Encode: TypeAlias = Callable[[torch.nn.Module, Any], Sequence[torch.Tensor]]


class FusedBlock(torch.nn.Module):
    """A block of the tower, with the parts that it has in vLLM.

    Args:
        block: for which ``suits`` holds.
    """

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        self.norm1: Any = block.norm1
        self.norm2: Any = block.norm2
        self.attn: Any = block.attn
        self.mlp: Any = block.mlp

    @staticmethod
    def suits(block: Any) -> bool:
        """Whether it computes what this block does."""
        return (
            isinstance(block, Qwen3_VisionBlock)
            and all(map(packed, (block.attn.qkv, block.attn.proj)))
            and all(map(packed, (block.mlp.linear_fc1, block.mlp.linear_fc2)))
            and isinstance(block.mlp.act_fn, torch.nn.GELU)
            and block.attn.apply_rotary_emb.is_neox_style
        )

    def forward(
        self,
        x: torch.Tensor,
        cu_seqlens: torch.Tensor,
        rotary_pos_emb_cos: torch.Tensor,
        rotary_pos_emb_sin: torch.Tensor,
        max_seqlen: torch.Tensor,
        sequence_lengths: torch.Tensor | None,
    ) -> torch.Tensor:
        """What vLLM's block computes.

        Args:
            x: (patches, 1, hidden size).
            cu_seqlens: (images + 1,): where each image begins, and the end of the last.
            rotary_pos_emb_cos: (patches, head size / 2).
            rotary_pos_emb_sin: likewise.
            max_seqlen: handed on to the attention.
            sequence_lengths: likewise.

        Returns:
            As ``x``.
        """
        attn, mlp = self.attn, self.mlp
        heads, size = attn.num_attention_heads_per_partition, attn.hidden_size_per_attention_head
        qkv = attn.qkv.cpu_linear(self.norm1(x), None, attn.qkv.bias).view(-1, 3, heads, size)
        cos = rotary_pos_emb_cos.to(x.dtype).repeat(1, 2)[:, None, None]
        sin = torch.cat((-rotary_pos_emb_sin, rotary_pos_emb_sin), -1).to(x.dtype)[:, None, None]
        straight = qkv[:, :2]
        rotated = torch.addcmul(straight * cos, straight.roll(size // 2, -1), sin)
        attended = attn.attn(
            query=rotated[None, :, 0],
            key=rotated[None, :, 1],
            value=qkv[None, :, 2],
            cu_seqlens=cu_seqlens,
            max_seqlen=max_seqlen,
            sequence_lengths=sequence_lengths,
        )
        x = attn.proj.cpu_linear.plus(attended.reshape(x.shape), attn.proj.bias, x)
        inner = mlp.linear_fc1.cpu_linear.gelu(
            self.norm2(x), mlp.linear_fc1.bias, mlp.act_fn.approximate
        )
        done: torch.Tensor = mlp.linear_fc2.cpu_linear.plus(inner, mlp.linear_fc2.bias, x)
        return done


class FusedMerger(torch.nn.Module):
    """From patches to image tokens, with the parts that it has in vLLM.

    Args:
        merger: for which ``suits`` holds.
    """

    def __init__(self, merger: Any) -> None:
        super().__init__()
        self.hidden_size: int = merger.hidden_size
        self.use_postshuffle_norm: bool = merger.use_postshuffle_norm
        self.norm: Any = merger.norm
        self.linear_fc1: Any = merger.linear_fc1
        self.linear_fc2: Any = merger.linear_fc2
        self.act_fn: Any = merger.act_fn

    @staticmethod
    def suits(merger: Any) -> bool:
        """Whether it computes what this merger does."""
        return (
            isinstance(merger, Qwen3_VisionPatchMerger)
            and all(map(packed, (merger.linear_fc1, merger.linear_fc2)))
            and isinstance(merger.act_fn, torch.nn.GELU)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What vLLM's merger computes.

        Args:
            x: (patches, 1, hidden size).

        Returns:
            (patches / merge^2, size of the decoder's embeddings).
        """
        if self.use_postshuffle_norm:
            x = self.norm(x.view(-1, self.hidden_size))
        else:
            x = self.norm(x).view(-1, self.hidden_size)
        first, second = self.linear_fc1, self.linear_fc2
        inner = first.cpu_linear.gelu(x, first.bias, self.act_fn.approximate)
        tokens: torch.Tensor = second.cpu_linear(inner, None, second.bias)
        return tokens


class PixelEmbedding(torch.nn.Module):
    """The tower's first layer on pixels that were not normalised.

    Normalisation makes s p + t of a pixel p, and the layer's weight w is applied to that:
    w (s p + t) = w s (p - 127.5) + w (127.5 s + t). The last term is part of the bias, and
    p - 127.5 is exact in bfloat16.

    Args:
        embedding: vLLM's, for which ``suits`` holds.
        norm: vLLM's normalisation.
    """

    def __init__(self, embedding: Any, norm: Any) -> None:
        super().__init__()
        # The tower's dtype is that of this layer's weight.
        self.proj: Any = embedding.proj
        given = self.proj.weight.data
        scale, offset = (each.float().view(1, -1, 1, 1, 1) for each in (norm.weight, norm.bias))
        weight = given.float() * scale
        shift = (given.float() * (CENTRE * scale + offset)).flatten(1).sum(1)
        self._bias = (self.proj.bias.data.float() + shift).to(given.dtype)
        self._image = PackedWeight(weight.sum(2).flatten(1).to(given.dtype))
        self._video = PackedWeight(weight.flatten(1).to(given.dtype))

    @staticmethod
    def suits(embedding: Any, norm: Any) -> bool:
        """Whether the two compute what this embedding does."""
        return (
            type(embedding) is Qwen3_VisionPatchEmbed
            and isinstance(embedding.proj, Conv3dLayer)
            and embedding.proj.weight.dtype == torch.bfloat16
            and embedding.proj.bias is not None
            and isinstance(norm, FusedMMInputNorm)
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Patches as the first block takes them.

        Args:
            pixels: 0 to 255, (patches, channels x frames x rows x columns), or what
                ``halved`` makes of that.

        Returns:
            (patches, hidden size).
        """
        weight = self._video if pixels.ndim == 2 else self._image
        centred = pixels.to(self._bias.dtype) - CENTRE
        return weight(centred.flatten(1), None, self._bias)

    def halved(self, pixels: torch.Tensor) -> torch.Tensor:
        """One of the frames of each patch, of images, whose frames are equal.

        Args:
            pixels: (patches, channels x frames x rows x columns).

        Returns:
            (patches, channels, rows x columns), a view.
        """
        channels, frames = self.proj.weight.shape[1:3]
        return pixels.view(pixels.shape[0], channels, frames, -1)[:, :, 0]


def frames_once(encode: Encode) -> Encode:
    """Hands a tower that can take it one of the two equal frames in an image's patches."""

    def _process_image_input(model: Any, media: Any) -> Sequence[torch.Tensor]:
        embedding = model.visual.patch_embed
        if media["type"] == "pixel_values" and isinstance(embedding, PixelEmbedding):
            media = {
                "type": media["type"],
                "pixel_values": embedding.halved(media["pixel_values"]),
                "image_grid_thw": media["image_grid_thw"],
            }
        return encode(model, media)

    return _process_image_input


def fuse(model: torch.nn.Module) -> None:
    """Puts the classes above in place of vLLM's wherever they suit, once a model is loaded."""
    towers: list[Any]
    towers = [each for each in model.modules() if isinstance(each, Qwen3_VisionTransformer)]
    for tower in towers:
        for blocks in (tower.blocks, tower.deepstack_merger_list):
            for place, each in enumerate(blocks):
                blocks[place] = _fused(each)
        tower.merger = _fused(tower.merger)
        if cpu_packing.supported() and PixelEmbedding.suits(tower.patch_embed, tower.input_norm):
            tower.patch_embed = PixelEmbedding(tower.patch_embed, tower.input_norm)
            tower.input_norm = IdentityInputNorm()


def _fused(part: torch.nn.Module) -> torch.nn.Module:
    for kind in (FusedBlock, FusedMerger):
        if kind.suits(part):
            return kind(part)
    return part
