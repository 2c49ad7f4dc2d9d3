"""The architecture ``RFM`` for vLLM: Qwen3-VL without its language head, with Robometer's heads.

Imported by vLLM's processes alone (``plugin``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.model_executor.models.utils import AutoWeightsLoader
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.tokenizers import cached_tokenizer_from_config

from lrm_server.engine.robometer.pooler import Head, ReadTokenPooler
from lrm_server.engine.robometer.structure import (
    FRAME_POOLING,
    HEAD_OUTPUTS,
    PREFERENCE,
    PROGRESS,
)


@MULTIMODAL_REGISTRY.register_processor(
    Qwen3VLMultiModalProcessor,
    info=Qwen3VLProcessingInfo,
    dummy_inputs=Qwen3VLDummyInputsBuilder,
)
class RFM(Qwen3VLForConditionalGeneration):
    """Robometer: progress and success at every frame, preference between two trajectories."""

    is_pooling_model: ClassVar[Literal[True]] = True

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config = vllm_config.model_config.hf_config
        hidden = config.text_config.hidden_size
        # Nothing is generated: the checkpoint has no language head.
        setattr(self.language_model, "lm_head", nn.Identity())  # noqa: B010 - of another type
        dtype = vllm_config.model_config.dtype
        heads = {name: Head(hidden, outputs).to(dtype) for name, outputs in HEAD_OUTPUTS.items()}
        for name, head in heads.items():
            setattr(self, name, head)
        setattr(self, FRAME_POOLING, nn.Linear(hidden, 1, bias=False).to(dtype))
        tokenizer = cached_tokenizer_from_config(vllm_config.model_config)
        read = [tokenizer.convert_tokens_to_ids(token) for token in (PROGRESS, PREFERENCE)]
        self.pooler = ReadTokenPooler(list(heads.values()), read)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Loads the checkpoint's tensors; vLLM refuses those left over on either side."""
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)
