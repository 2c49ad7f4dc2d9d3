"""How many encoded frames an engine keeps, for the next question that shows them.

A comparison shows the frame of the query before it. With N environments that frame was encoded N
frames ago and more, and vLLM keeps no more than one step's tokens of them: beyond some dozens of
environments every previous frame would be encoded again.
"""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from vllm.config import VllmConfig
from vllm.v1.core.encoder_cache_manager import EncoderCacheManager

BYTES: Final = "bytes"


def encoder_cache(max_bytes: int) -> dict[str, Any]:
    """A cache of encoded frames of at most so many bytes, as vLLM is configured with it."""
    where = f"{SizedEncoderCache.__module__}.{SizedEncoderCache.__qualname__}"
    return {"encoder_cache_manager_cls": where, "manager_config": {BYTES: max_bytes}}


class SizedEncoderCache(EncoderCacheManager):
    """The cache of vLLM, sized by bytes; never smaller than vLLM would have it."""

    @classmethod
    def create_manager(cls, *, cache_size: int, vllm_config: VllmConfig) -> SizedEncoderCache:
        """As vLLM asks for it in the engine's process; sizes are in tokens of frames."""
        wanted = vllm_config.ec_manager_config.manager_config[BYTES]
        return cls(max(cache_size, wanted // token_bytes(vllm_config)))


def token_bytes(vllm_config: VllmConfig) -> int:
    """Bytes of one encoded token of a frame, with what goes to the decoder's deeper layers."""
    model = vllm_config.model_config
    vision = getattr(model.hf_config, "vision_config", None)
    deeper = len(getattr(vision, "deepstack_visual_indexes", ()))
    # vLLM has resolved the name of the type by now.
    dtype = cast(torch.dtype, model.dtype)
    return int(model.get_hidden_size() * (1 + deeper) * dtype.itemsize)
