"""LoRA adapters: served at once, each as its merged model; half-applied ones refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lrm_server.engine.adapters import check_adapter
from lrm_server.engine.checkpoint_files import locate
from lrm_server.errors import DomainError
from lrm_server.heads.query import Query
from tests.engine.conftest import ADAPTERS, Exact
from tests.engine.lora import PREFIX, deltas, make_adapter, read_tensors, write_adapter
from tests.engine.test_transformers_parity import FULL, label_profile, logprobs
from tests.rollout_frames import queries


def test_three_adapters_served_at_once_answer_as_their_merged_models(exact: Exact) -> None:
    base = queries("progress", 4)
    asked = [
        Query(head=f"progress_{name}", task=query.task, frames=query.frames)
        for query in base
        for name in ADAPTERS
    ]
    replies = exact.host.score_all(asked)
    without = [logprobs(reply) for reply in exact.host.score_all(base)]
    for at, name in enumerate(ADAPTERS):
        change = deltas(exact.adapters[name])
        exact.reference.merge(change)
        try:
            for number, query in enumerate(base):
                profile = label_profile(exact.host, f"progress_{name}")
                wanted = exact.reference.label_logprobs(profile, query)
                ours = logprobs(replies[number * len(ADAPTERS) + at])
                assert ours == pytest.approx(wanted, abs=FULL)
                # The adapter does something that the tolerance can see.
                assert max(abs(a - b) for a, b in zip(ours, without[number], strict=True)) > 0.05
        finally:
            exact.reference.merge(change, -1.0)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "adapter", locate("embedded"), seed=7)


def refused(folder: Path) -> str:
    with pytest.raises(DomainError) as error:
        check_adapter("mine", folder, locate("embedded"))
    assert error.value.field == "adapters.mine"
    assert "adapter mine is refused" in error.value.message
    return error.value.message


def test_a_whole_adapter_passes(adapter: Path) -> None:
    assert check_adapter("mine", adapter, locate("embedded")).rank == 4


def test_a_renamed_tensor_is_refused_by_its_key(adapter: Path) -> None:
    tensors = read_tensors(adapter)
    key = next(key for key in tensors if "layers.1.mlp.up_proj.lora_A" in key)
    tensors[key.replace("layers.1.", "layers.77.")] = tensors.pop(key)
    pair = key.replace("lora_A", "lora_B")
    tensors[pair.replace("layers.1.", "layers.77.")] = tensors.pop(pair)
    write_adapter(adapter, tensors)
    assert "layers.77.mlp.up_proj" in refused(adapter)


def test_half_of_a_pair_is_refused(adapter: Path) -> None:
    tensors = read_tensors(adapter)
    key = next(key for key in tensors if key.endswith("q_proj.lora_B.weight"))
    tensors[key.replace("lora_B", "lora_Bee")] = tensors.pop(key)
    write_adapter(adapter, tensors)
    assert "q_proj.lora_Bee.weight" in refused(adapter)
    del tensors[key.replace("lora_B", "lora_Bee")]
    write_adapter(adapter, tensors)
    assert "only one of lora_A and lora_B" in refused(adapter)


def test_tensors_of_the_vision_tower_are_refused(adapter: Path) -> None:
    tensors = read_tensors(adapter)
    for side, shape in (("A", (4, 192)), ("B", (576, 4))):
        key = f"{PREFIX}model.visual.blocks.0.attn.qkv.lora_{side}.weight"
        tensors[key] = torch.ones(shape)
    write_adapter(adapter, tensors)
    message = refused(adapter)
    assert "model.visual.blocks.0.attn.qkv" in message
    assert "vision tower" in message


def test_a_lora_b_of_zeros_is_refused(adapter: Path) -> None:
    tensors = read_tensors(adapter)
    key = next(key for key in tensors if key.endswith("v_proj.lora_B.weight"))
    tensors[key] = torch.zeros_like(tensors[key])
    write_adapter(adapter, tensors)
    message = refused(adapter)
    assert key in message
    assert "all zero" in message


@pytest.mark.parametrize(
    "config",
    [
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}},
        {"use_dora": True},
        {"bias": "all"},
        {"init_lora_weights": "pissa_niter_4"},
        {"layer_replication": [[0, 2]]},
        {"target_parameters": ["experts"]},
        {"fan_in_fan_out": True},
        {"r": 0},
        {"r": 1024},
    ],
    ids=lambda config: next(iter(config)),
)
def test_what_vllm_would_leave_out_is_refused(adapter: Path, config: dict[str, object]) -> None:
    write_adapter(adapter, read_tensors(adapter), **config)
    assert next(iter(config)) in refused(adapter)


def test_numbers_that_are_not_finite_are_refused(adapter: Path) -> None:
    tensors = read_tensors(adapter)
    key = next(key for key in tensors if key.endswith("o_proj.lora_B.weight"))
    tensors[key][0, 0] = torch.nan
    write_adapter(adapter, tensors)
    assert key in refused(adapter)


def test_files_that_are_broken_or_too_many_are_refused(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    (adapter / "more.safetensors").write_bytes(weights.read_bytes())
    assert "no other weights" in refused(adapter)
    (adapter / "more.safetensors").unlink()
    weights.write_bytes(b"\0" * 5)
    assert "no safetensors file" in refused(adapter)
    (adapter / "adapter_config.json").write_text("{")
    assert "no JSON" in refused(adapter)


def test_another_models_adapter_is_refused(adapter: Path) -> None:
    tensors = {
        key: torch.ones(tensor.shape[0], tensor.shape[1] + 1) if "lora_A" in key else tensor
        for key, tensor in read_tensors(adapter).items()
    }
    write_adapter(adapter, tensors)
    assert "do not fit rank 4" in refused(adapter)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    assert "adapter_config.json" in refused(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3", "r": 4}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    assert "no LoRA" in refused(tmp_path)
