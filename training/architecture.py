"""The embedded checkpoint's shape.

Qwen3-VL, made small, with every file that transformers and vLLM ask for.

`python -m training.architecture FOLDER` writes a checkpoint with random weights.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from training import tokenizer as tokenization

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

PATCH: Final = 16
MERGE: Final = 2
TEMPORAL_PATCH: Final = 2
# Frames are scaled to at most this many pixels, and the training frames are exactly so many.
MAX_PIXELS: Final = 128 * 128
MIN_PIXELS: Final = 64 * 64
# The mean and the standard deviation that pixels in [0, 1] are normalised with.
PIXEL_MEAN: Final = 0.5
PIXEL_STD: Final = 0.5

TEXT: Final[dict[str, Any]] = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": tokenization.MAX_LENGTH,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        # Thirds of the 32 rotary frequencies for time, height and width.
        "mrope_section": [12, 10, 10],
        "mrope_interleaved": True,
    },
    "tie_word_embeddings": True,
}
VISION: Final[dict[str, Any]] = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "depth": 6,
    "num_heads": 3,
    "patch_size": PATCH,
    "temporal_patch_size": TEMPORAL_PATCH,
    "spatial_merge_size": MERGE,
    "out_hidden_size": TEXT["hidden_size"],
    # A learned position for each of the 8 x 8 patches of a 128 x 128 frame.
    "num_position_embeddings": MAX_PIXELS // PATCH**2,
    "deepstack_visual_indexes": [2],
}


def config(tokenizer: Qwen2Tokenizer) -> Qwen3VLConfig:
    """The model's configuration for a tokenizer."""
    number = tokenizer.convert_tokens_to_ids
    made = Qwen3VLConfig(
        text_config={
            **TEXT,
            "vocab_size": tokenization.vocabulary_size(tokenizer),
            "eos_token_id": number("<|im_end|>"),
            "pad_token_id": None,
        },
        vision_config=dict(VISION),
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    made.architectures = ["Qwen3VLForConditionalGeneration"]
    return made


def build(tokenizer: Qwen2Tokenizer, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """A model with random float32 weights."""
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config(tokenizer))
    # For so few tokens the fused attention's backward pass takes longer than all else.
    model.set_attn_implementation("eager")
    return model


def _image_processor() -> dict[str, Any]:
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen3VLProcessor",
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL_PATCH,
        "merge_size": MERGE,
        "image_mean": [PIXEL_MEAN] * 3,
        "image_std": [PIXEL_STD] * 3,
    }


def _video_processor() -> dict[str, Any]:
    # A video's sizes count the pixels of all of its frames; sixteen frames of the usual size at
    # most.
    return {
        **_image_processor(),
        "image_processor_type": None,
        "video_processor_type": "Qwen3VLVideoProcessor",
        "size": {"shortest_edge": MIN_PIXELS * TEMPORAL_PATCH, "longest_edge": MAX_PIXELS * 16},
        "cap_pixels_per_frame": False,
    }


def save(model: Qwen3VLForConditionalGeneration, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Writes a whole checkpoint: weights in bfloat16, configuration, tokenizer and processors."""
    folder.mkdir(parents=True, exist_ok=True)
    half = build(tokenizer).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    number = tokenizer.convert_tokens_to_ids
    half.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=[number("<|im_end|>"), number("<|endoftext|>")],
        pad_token_id=number("<|endoftext|>"),
    )
    half.save_pretrained(folder, safe_serialization=True)
    # The library writes weights for its own user alone; a package's files are for all.
    (folder / "model.safetensors").chmod(0o644)
    tokenization.save(tokenizer, folder)
    video = {key: value for key, value in _video_processor().items() if value is not None}
    for name, content in (
        ("preprocessor_config", _image_processor()),
        ("video_preprocessor_config", video),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tokenizer = tokenization.build()
    save(build(tokenizer, args.seed), tokenizer, args.folder)


if __name__ == "__main__":
    main()
