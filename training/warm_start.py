"""Begins a training with the weights of an earlier checkpoint, whose vocabulary may differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import Qwen2Tokenizer


def adopt(model: Qwen3VLForConditionalGeneration, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Copies a checkpoint's weights into a model of the same shape, embeddings by token.

    A token that the checkpoint does not have begins as the mean of the pieces that its tokenizer
    cuts the token's text into.

    Args:
        model: changed in place.
        tokenizer: the model's.
        folder: the checkpoint.

    Raises:
        ValueError: the checkpoint's shape is another one.
    """
    earlier = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    known = AutoTokenizer.from_pretrained(folder)
    words = earlier.get_input_embeddings().weight.detach()
    target = model.get_input_embeddings().weight
    found = earlier.state_dict()
    own = model.state_dict()
    for name, tensor in own.items():
        if tensor.data_ptr() == target.data_ptr():
            continue
        if name not in found or found[name].shape != tensor.shape:
            raise ValueError(f"{folder} has no {name} of shape {tuple(tensor.shape)}")
        tensor.copy_(found[name])
    with torch.no_grad():
        for token, number in tokenizer.get_vocab().items():
            pieces = [known.get_vocab().get(token)]
            if pieces == [None]:
                pieces = known(tokenizer.decode([number]), add_special_tokens=False).input_ids
            if pieces:
                target[number] = words[pieces].mean(0)
