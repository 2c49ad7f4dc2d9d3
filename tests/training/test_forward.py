"""The fast forward pass gives Hugging Face's numbers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (extra `train`)")
pytest.importorskip(
    "training.architecture",
    reason="needs PyTorch and transformers (extra `train`)",
    exc_type=ImportError,
)

from training import architecture, forward, tokenizer  # noqa: E402
from training.prompts import profile_of, prompt  # noqa: E402


@pytest.fixture(scope="module")
def parts():
    words = tokenizer.build()
    return words, architecture.build(words).eval()


def patches_of(frames):
    """Flattened patches as Qwen's processor makes them, each frame doubled in time."""
    count, height, width, _ = frames.shape
    rows, columns, size, merge = height // 16, width // 16, 16, 2
    pixels = (frames.float() / 255 - 0.5) / 0.5
    doubled = pixels[:, None].repeat(1, 2, 1, 1, 1)
    cut = doubled.view(count, 2, rows // merge, merge, size, columns // merge, merge, size, 3)
    return cut.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(count * rows * columns, -1)


def test_logits_equal_those_of_the_library(parts):
    words, model = parts
    roles = frozenset(profile_of("contrastive").required_frames)
    text = prompt("contrastive", "Stack the red cube", roles).text.replace(
        "<|image_pad|>", "<|image_pad|>" * 16
    )
    ids = torch.tensor([words(text).input_ids])
    frames = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    grid = torch.tensor([[1, 8, 8]] * 2)
    with torch.no_grad():
        theirs = model(
            input_ids=ids,
            pixel_values=patches_of(frames),
            image_grid_thw=grid,
            mm_token_type_ids=(ids == model.config.image_token_id).int(),
        ).logits
        positions = torch.tensor(
            forward.positions_of(ids[0].tolist(), model.config.image_token_id, 4)
        )
        hidden = forward.decode(
            model,
            ids,
            positions.T[:, None],
            forward.encode_frames(model, frames),
            torch.tensor([0, 1]),
        )
        ours = model.lm_head(hidden)
    assert torch.allclose(ours, theirs, atol=1e-4)
