from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lrm_server.engine.frame_reader import ControlToken, FrameQuestion
from lrm_server.engine.protocol import FrameSlot
from lrm_server.engine.robometer.folder import base_name, preparation, serving_folder
from lrm_server.engine.robometer.prompts import FramePrompts
from lrm_server.engine.robometer.tensors import check_tensors, is_robometer
from lrm_server.errors import DomainError, ErrorCode
from tests.engine.robometer.checkpoint import Published
from tests.engine.robometer.reader_host import ReaderHost, frame_of, pictures, trajectory

from transformers import AutoTokenizer  # isort: skip


@pytest.fixture
def copy(published: Published, tmp_path: Path) -> Path:
    """A checkpoint to spoil."""
    return Path(shutil.copytree(published.checkpoint, tmp_path / "copy"))


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replaces tensors, adds them, or takes them out."""
    path = folder / "model.safetensors"
    state = load_file(path) | {name: new for name, new in changes.items() if new is not None}
    save_file(
        {name: each for name, each in state.items() if changes.get(name, 0) is not None}, path
    )


def test_a_checkpoint_of_the_published_structure_is_taken(published: Published) -> None:
    assert is_robometer(published.checkpoint)
    assert not is_robometer(published.base)
    check_tensors(published.checkpoint)


@pytest.mark.parametrize(
    "name", ["success_head.4.bias", "frame_pool_attn.weight", "model.language_model.norm.weight"]
)
def test_a_missing_tensor_is_named(copy: Path, name: str) -> None:
    rewrite(copy, **{name: None})
    with pytest.raises(DomainError, match=name.replace(".", r"\.")) as caught:
        check_tensors(copy)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.field == "model"


def test_an_unknown_tensor_is_named(copy: Path) -> None:
    rewrite(copy, **{"similarity_head.0.weight": torch.zeros(4, 4)})
    with pytest.raises(DomainError, match=r"similarity_head\.0\.weight"):
        check_tensors(copy)


def test_a_tensor_of_another_shape_is_named_with_both(copy: Path) -> None:
    rewrite(copy, **{"progress_head.4.bias": torch.zeros(7)})
    with pytest.raises(DomainError, match=r"progress_head\.4\.bias \(7,\), not \(10,\)"):
        check_tensors(copy)


def test_a_base_with_another_vocabulary_is_refused(published: Published, tmp_path: Path) -> None:
    base = Path(shutil.copytree(published.base, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens("one too many")
    tokenizer.save_pretrained(base)
    with (
        pytest.raises(DomainError, match="vocabulary") as caught,
        serving_folder(published.checkpoint, base, 1024),
    ):
        pass
    assert caught.value.field == "base"


def test_the_folder_that_is_served_knows_the_added_tokens_and_goes_afterwards(
    published: Published,
) -> None:
    with serving_folder(published.checkpoint, published.base, 1024) as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        size = len(AutoTokenizer.from_pretrained(published.base))
        assert tokenizer.convert_tokens_to_ids("<|split_token|>") == size
        assert tokenizer.convert_tokens_to_ids("<|prog_token|>") == size + 4
        assert (folder / "model.safetensors").is_symlink()
    assert not folder.exists()


def test_a_template_that_does_not_number_pictures_is_refused(
    published: Published, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(published.base, tmp_path / "base"))
    template = (base / "chat_template.jinja").read_text()
    (base / "chat_template.jinja").write_text(template.replace("add_vision_id", "false"))
    with serving_folder(published.checkpoint, base, 1024) as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        with pytest.raises(DomainError, match="number pictures"):
            FramePrompts(tokenizer)


def test_frames_are_resized_to_multiples_of_32_and_small_ones_are_not_enlarged(
    published: Published,
) -> None:
    how = preparation(published.base)
    assert how.target_size(64, 64) == (64, 64)
    assert how.target_size(240, 320) == (256, 320)
    assert how.target_size(1080, 1920) == (1088, 1920)


def test_the_base_is_the_one_that_the_checkpoint_names(
    published: Published, tmp_path: Path
) -> None:
    assert base_name(tmp_path) is None
    (tmp_path / "config.yaml").write_text("model:\n  base_model_id: Qwen/Qwen3-VL-4B-Instruct\n")
    assert base_name(tmp_path) == "Qwen/Qwen3-VL-4B-Instruct"
    assert base_name(published.base) == str(published.base)


def test_a_checkpoint_of_another_backbone_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "qwen3", "architectures": ["RFM"]}))
    with pytest.raises(DomainError, match="qwen3_vl"):
        check_tensors(copy)


def test_a_task_with_a_control_token_is_refused(exact: ReaderHost) -> None:
    with pytest.raises(DomainError, match="control token") as caught:
        exact.read(trajectory("Stop here <|prog_token|> now.", pictures(1, seed=41)))
    assert caught.value.field == "task"


def test_more_tokens_than_the_model_takes_are_refused(exact: ReaderHost) -> None:
    frames = pictures(18, seed=42, size=512)
    with pytest.raises(DomainError, match="tokens") as caught:
        exact.read(trajectory("Too long.", frames))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_a_frame_that_cannot_be_prepared_is_named(exact: ReaderHost) -> None:
    thin = frame_of(np.zeros((8, 1800, 3), dtype=np.uint8))
    question = FrameQuestion(
        ("Look.", FrameSlot(thin, "window[0]"), ControlToken("<|prog_token|>"))
    )
    with pytest.raises(DomainError) as caught:
        exact.read(question)
    assert caught.value.field == "window[0]"
