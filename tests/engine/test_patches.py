"""Our way from pixels to patches is Hugging Face's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrm_server.engine.broken_extensions import install
from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.patches import prepare, read_preparation
from lrm_server.errors import DomainError

install()

from transformers import Qwen2VLImageProcessor  # noqa: E402

SIZES = [(128, 128), (64, 96), (96, 64), (37, 53), (224, 224), (200, 300), (480, 640), (13, 120)]
QWEN3_VL_8B = {"shortest_edge": 65536, "longest_edge": 16777216}


def pixels(height: int, width: int) -> np.ndarray:
    """Smooth shapes and noise, so that a resize has something to get wrong."""
    rng = np.random.default_rng(height * 1000 + width)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 120 * np.sin(rows[..., None] / 7 + columns[..., None] / (5, 9, 11))
    return np.clip(waves + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bounds", [None, QWEN3_VL_8B], ids=["embedded", "qwen3-vl-8b"])
def test_patches_equal_the_processors(size, bounds, tmp_path) -> None:
    config = json.loads((locate("embedded") / "preprocessor_config.json").read_text())
    if bounds is not None:
        config["size"] = bounds
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    processor = Qwen2VLImageProcessor.from_pretrained(tmp_path)
    image = pixels(*size)
    wanted = processor(Image.fromarray(image), return_tensors="pt")
    ours = prepare(image, read_preparation(tmp_path))
    assert ours.grid.tolist() == wanted["image_grid_thw"][0].tolist()
    assert ours.tokens == wanted["image_grid_thw"][0].prod() // 4
    normalised = (ours.values.float() / 255 - 0.5) / 0.5
    assert torch.allclose(normalised, wanted["pixel_values"], atol=1e-6)


def test_a_sliver_is_refused_with_what_to_do() -> None:
    how = read_preparation(locate("embedded"))
    with pytest.raises(DomainError, match="Crop it"):
        prepare(np.zeros((8, 1700, 3), dtype=np.uint8), how)


def test_another_processor_is_refused(tmp_path: Path) -> None:
    config = {"image_processor_type": "CLIPImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(DomainError, match="CLIPImageProcessor"):
        read_preparation(tmp_path)


def test_the_digest_changes_with_the_preparation(tmp_path: Path) -> None:
    config = json.loads((locate("embedded") / "preprocessor_config.json").read_text())
    config["size"] = QWEN3_VL_8B
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert read_preparation(tmp_path).digest != read_preparation(locate("embedded")).digest
