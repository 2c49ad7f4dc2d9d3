"""A folder that vLLM can serve: a checkpoint's weights with its base model's processor files.

The published repositories hold weights and config.json alone. Their tokeniser is the
base model's with five tokens added, whose rows the checkpoint's embedding has.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml
from transformers import AutoTokenizer

from lrm_server.engine.patches import Preparation, read_preparation
from lrm_server.engine.robometer.structure import ADDED_TOKENS
from lrm_server.engine.robometer.tensors import read_config
from lrm_server.errors import invalid

_WEIGHTS: Final = ("config.json", "*.safetensors", "*.safetensors.index.json")
_PROCESSOR: Final = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "chat_template.json",
    "chat_template.jinja",
)
_TOKENIZER: Final = "tokenizer.json"
# What Robometer's own reader of images keeps to, in tokens; the processor's bounds are wider.
_LEAST_TOKENS: Final = 4
_MOST_TOKENS: Final = 16384


def base_name(checkpoint: Path) -> str | None:
    """The base model that a checkpoint's own ``config.yaml`` names, or None.

    A checkpoint with a tokeniser beside its weights is its own base.
    """
    if (checkpoint / _TOKENIZER).is_file():
        return str(checkpoint)
    try:
        content = yaml.safe_load((checkpoint / "config.yaml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    model = content.get("model") if isinstance(content, dict) else None
    name = model.get("base_model_id") if isinstance(model, dict) else None
    return name if isinstance(name, str) else None


@contextmanager
def serving_folder(checkpoint: Path, base: Path, most_frame_tokens: int) -> Iterator[Path]:
    """Puts the files together for as long as the block lasts; weights are linked, not copied.

    Args:
        checkpoint: folder with config.json and the weights.
        base: folder with the base model's tokeniser and processor files.
        most_frame_tokens: vLLM tries out a frame of this size when it starts.

    Raises:
        DomainError: INVALID_ARGUMENT of ``base`` when its vocabulary with the added
            tokens is not the checkpoint's.
    """
    tokenizer = _tokenizer(base, int(read_config(checkpoint).get_text_config().vocab_size))
    how = preparation(base)
    most_pixels = min(how.max_pixels, most_frame_tokens * (how.patch * how.merge) ** 2)
    with tempfile.TemporaryDirectory(prefix="lrm-robometer-") as name:
        folder = Path(name)
        for origin, patterns in ((checkpoint, _WEIGHTS), (base, _PROCESSOR)):
            for pattern in patterns:
                for path in origin.glob(pattern):
                    (folder / path.name).symlink_to(path.resolve())
        tokenizer.save_pretrained(folder)
        _bound_frames(folder, how.min_pixels, most_pixels)
        yield folder


def _bound_frames(folder: Path, least_pixels: int, most_pixels: int) -> None:
    path = folder / "preprocessor_config.json"
    config = json.loads(path.read_text("utf-8"))
    for name in ("min_pixels", "max_pixels"):
        config.pop(name, None)
    config["size"] = {"shortest_edge": least_pixels, "longest_edge": most_pixels}
    path.unlink()
    path.write_text(json.dumps(config), "utf-8")


def _tokenizer(base: Path, vocabulary: int) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError) as error:
        raise invalid("base", f"{base} has no tokeniser that can be read: {error}") from error
    for token in ADDED_TOKENS:
        tokenizer.add_tokens(token, special_tokens=True)
    if len(tokenizer) != vocabulary:
        raise invalid(
            "base",
            f"with Robometer's tokens the vocabulary of {base} has {len(tokenizer)} entries and "
            f"the checkpoint's embedding {vocabulary}: name the base that it was trained on.",
        )
    return tokenizer


def preparation(base: Path) -> Preparation:
    """How Robometer prepares frames: to multiples of 32 pixels, within its own bounds.

    Raises:
        DomainError: INVALID_ARGUMENT as ``read_preparation``.
    """
    how = read_preparation(base)
    pixels = (how.patch * how.merge) ** 2
    return replace(how, min_pixels=_LEAST_TOKENS * pixels, max_pixels=_MOST_TOKENS * pixels)
