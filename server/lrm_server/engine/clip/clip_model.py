"""CLIP's two towers through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import CLIPModel, CLIPProcessor

from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Pixels

Vector = npt.NDArray[np.float32]
"""float32 (width,), of length 1."""

NumberType = Literal["auto", "float32", "bfloat16", "float16"]


class ClipTowers:
    """A CLIP checkpoint on the GPU, where there is one. Its methods block.

    Args:
        folder: of the checkpoint: config, safetensors, tokeniser, preprocessing.
        dtype: number type of the weights; ``auto`` takes the checkpoint's.

    Raises:
        DomainError: INVALID_ARGUMENT of ``model`` when the folder holds no CLIP.
    """

    def __init__(self, folder: Path, dtype: NumberType = "auto") -> None:
        try:
            self._processor: Any = CLIPProcessor.from_pretrained(folder)
            model: Any = CLIPModel.from_pretrained(
                folder,
                dtype=dtype if dtype == "auto" else getattr(torch, dtype),
                use_safetensors=True,
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise invalid(
                "model",
                f"{folder} holds no CLIP that transformers can load ({error}): it needs "
                "config.json, weights as safetensors, a tokeniser and preprocessor_config.json.",
            ) from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        self._most_tokens = int(model.config.text_config.max_position_embeddings)

    @property
    def dtype(self) -> str:
        """Number type of the weights."""
        return str(self._model.dtype)

    def prepare(self, pixels: Pixels) -> torch.Tensor:
        """A frame as the image tower takes it: float32 (3, side, side).

        Args:
            pixels: uint8 (height, width, 3), RGB.
        """
        inputs = self._processor(images=Image.fromarray(pixels), return_tensors="pt")
        prepared: torch.Tensor = inputs["pixel_values"][0]
        return prepared

    def embed_images(self, prepared: Sequence[torch.Tensor]) -> list[Vector]:
        """A vector for each prepared frame."""
        pixels = torch.stack(list(prepared)).to(self._device, self._model.dtype)
        with torch.inference_mode():
            return _unit(self._model.get_image_features(pixel_values=pixels).pooler_output)

    def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text, which ``check_text`` let pass."""
        inputs = self._processor(text=list(texts), padding=True, return_tensors="pt")
        inputs = inputs.to(self._device)
        with torch.inference_mode():
            return _unit(self._model.get_text_features(**inputs).pooler_output)

    def check_text(self, text: str) -> None:
        """Refuses what the text tower would cut.

        Raises:
            DomainError: INVALID_ARGUMENT of ``task``.
        """
        tokens = len(self._processor.tokenizer(text)["input_ids"])
        if tokens > self._most_tokens:
            raise invalid(
                "task",
                f"the task takes {tokens} tokens and CLIP reads {self._most_tokens}: shorten it.",
            )


def _unit(features: torch.Tensor) -> list[Vector]:
    vectors = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    if not np.isfinite(vectors).all():
        raise DomainError(
            ErrorCode.INTERNAL,
            "CLIP gave no number for a frame or a text: its weights or its input are broken.",
        )
    return list(vectors)
