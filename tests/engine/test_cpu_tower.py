from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.model_executor.layers import utils as vllm_layers
from vllm.model_executor.layers.fusion.mm_input_norm import FusedMMInputNorm, IdentityInputNorm
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.models.qwen3_vl import (
    Qwen3_VisionPatchEmbed,
    Qwen3_VisionTransformer,
)
from vllm.platforms import current_platform
from vllm.utils.torch_utils import set_default_torch_dtype

from lrm_server.engine import cpu_packing
from lrm_server.engine.cpu_packing import PackedWeight, PackingDispatch, packed
from lrm_server.engine.cpu_tower import (
    FusedBlock,
    FusedMerger,
    PixelEmbedding,
    frames_once,
    fuse,
)

if not current_platform.is_cpu():
    pytest.skip("this vLLM is built for a GPU, where its own tower is", allow_module_level=True)
if not cpu_packing.supported():
    pytest.skip("this processor has no bfloat16 products", allow_module_level=True)

SIZES = [[1, 8, 8], [1, 8, 8], [1, 4, 8]]
PATCHES = sum(frames * rows * columns for frames, rows, columns in SIZES)
CONFIG = Qwen3VLVisionConfig(
    depth=3,
    hidden_size=64,
    num_heads=2,
    intermediate_size=128,
    patch_size=4,
    out_hidden_size=48,
    num_position_embeddings=64,
    deepstack_visual_indexes=[0],
)

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes towers of the same weights: ``make(dtype, packing, norm)``."""
    file = tmp_path_factory.mktemp("group") / "file"
    vllm_dispatch = vllm_layers.dispatch_cpu_unquantized_gemm

    def tower(
        dtype: torch.dtype = torch.bfloat16,
        packing: bool = True,
        norm: torch.nn.Module | None = None,
    ) -> Any:
        with set_default_torch_dtype(dtype):
            norm = norm or FusedMMInputNorm([0.5, 0.45, 0.4], [0.5, 0.25, 0.2], 1 / 255)
            made = Qwen3_VisionTransformer(CONFIG, input_norm=norm, prefix="visual")
        generator = torch.Generator().manual_seed(0)
        for name, parameter in made.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            scale = 0.5 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            middle = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            # Every tower's weights are numbers that bfloat16 has.
            parameter.data.copy_((middle + drawn * scale).bfloat16())
        dispatch = PackingDispatch(vllm_dispatch) if packing else vllm_dispatch
        for layer in made.modules():
            if isinstance(layer, LinearBase):
                dispatch(layer, True)
        return made

    with set_current_vllm_config(VllmConfig()), torch.inference_mode():
        parallel_state.init_distributed_environment(1, 0, f"file://{file}", 0, "gloo")
        parallel_state.initialize_model_parallel()
        try:
            yield tower
        finally:
            parallel_state.destroy_model_parallel()
            parallel_state.destroy_distributed_environment()


def frame_pixels() -> torch.Tensor:
    """uint8 (patches, 3 x 2 x 16), of images: both frames are equal."""
    frames = torch.randint(0, 256, (PATCHES, 3, 1, 16), generator=torch.Generator().manual_seed(1))
    return frames.expand(-1, -1, 2, -1).reshape(PATCHES, -1).to(torch.uint8)


def video_pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (PATCHES, 96), generator=generator).to(torch.uint8)


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.float() - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt())


@pytest.mark.parametrize("images", [True, False])
def test_a_fused_tower_is_as_near_to_float32_as_vllms(make: Make, images: bool) -> None:
    pixels = frame_pixels() if images else video_pixels()
    exact = make(torch.float32, packing=False)(pixels, SIZES)
    own = error(make(packing=False)(pixels, SIZES), exact)
    tower = make()
    fuse(tower)
    given = tower.patch_embed.halved(pixels) if images else pixels
    assert error(tower(given, SIZES), exact) < 1.1 * own < 0.1


@pytest.mark.parametrize("part", ["block", "merger", "deepstack merger", "embedding"])
def test_each_fused_part_is_as_near_to_float32_as_vllms(make: Make, part: str) -> None:
    exact, own, tower = make(torch.float32, packing=False), make(packing=False), make()
    fuse(tower)
    metadata = exact.prepare_encoder_metadata(SIZES)
    of_block = {name: each for name, each in metadata.items() if name != "pos_embeds"}
    x = torch.randn(PATCHES, 1, 64).bfloat16()

    def computed(tower: Any) -> torch.Tensor:
        given = x.to(tower.dtype)
        found: torch.Tensor
        match part:
            case "block":
                found = tower.blocks[1](
                    given,
                    **{
                        name: each.to(tower.dtype) if "rotary" in name else each
                        for name, each in of_block.items()
                    },
                )
            case "merger":
                found = tower.merger(given)
            case "deepstack merger":
                found = tower.deepstack_merger_list[0](given)
            case _:
                found = tower.patch_embed(tower.input_norm(video_pixels(), tower.dtype))
        return found

    assert error(computed(tower), computed(exact)) < 1.1 * error(computed(own), computed(exact))


def test_all_of_a_plain_bfloat16_tower_is_fused_and_its_names_stay(make: Make) -> None:
    tower = make()
    before = {name for name, _ in tower.named_parameters()}
    fuse(tower)
    assert all(type(block) is FusedBlock for block in tower.blocks)
    assert all(type(each) is FusedMerger for each in [tower.merger, *tower.deepstack_merger_list])
    assert type(tower.patch_embed) is PixelEmbedding
    assert {name for name, _ in tower.named_parameters()} == before
    assert tower.dtype == torch.bfloat16
    once = tower(video_pixels(), SIZES)
    fuse(tower)
    assert torch.equal(tower(video_pixels(), SIZES), once)


def test_an_image_is_what_a_video_of_two_equal_frames_is(make: Make) -> None:
    tower = make()
    fuse(tower)
    pixels = frame_pixels()
    halved = tower.patch_embed.halved(pixels)
    assert halved.shape == (PATCHES, 3, 16)
    assert error(tower.patch_embed(halved), tower.patch_embed(pixels).float()) < 0.01


def test_pixels_that_are_handed_over_are_not_written_to(make: Make) -> None:
    tower = make()
    fuse(tower)
    pixels = video_pixels().bfloat16()
    first = tower(pixels, SIZES)
    assert torch.equal(tower(pixels, SIZES), first)
    assert torch.equal(first, tower(video_pixels(), SIZES))


def test_a_packed_layer_holds_no_second_weight_and_takes_the_bias_that_it_is_given(
    make: Make,
) -> None:
    layer, own = make().blocks[0].mlp.linear_fc1, make(torch.float32, packing=False)
    assert packed(layer)
    assert layer.weight.numel() == 0
    x = torch.randn(5, 64).bfloat16()
    exact = own.blocks[0].mlp.linear_fc1
    bias = exact.bias.data
    without = exact(x.float()) - bias
    assert error(layer.cpu_linear(x, layer.weight, None), without) < 0.01
    assert error(layer(x), without + bias) < 0.01


def _quantized(block: Any) -> None:
    block.attn.qkv.cpu_linear = torch.nn.functional.linear


def _shared(block: Any) -> None:
    block.mlp.linear_fc2.tp_size = 2


def _under_an_adapter(block: Any) -> None:
    class Adapted(torch.nn.Module):
        base_layer = block.attn.proj

    block.attn.proj = Adapted()


def _another_activation(block: Any) -> None:
    block.mlp.act_fn = torch.nn.SiLU()


def _without_bias(block: Any) -> None:
    block.mlp.linear_fc1.bias = None


@pytest.mark.parametrize(
    "change", [_quantized, _shared, _under_an_adapter, _another_activation, _without_bias]
)
def test_a_block_that_is_not_plain_stays_vllms(make: Make, change: Callable[[Any], None]) -> None:
    tower = make()
    changed = tower.blocks[1]
    change(changed)
    fuse(tower)
    assert tower.blocks[1] is changed
    assert type(tower.blocks[0]) is type(tower.blocks[2]) is FusedBlock


def test_a_tower_in_float32_stays_vllms(make: Make) -> None:
    tower = make(torch.float32)
    kinds = [type(each) for each in tower.modules()]
    fuse(tower)
    assert [type(each) for each in tower.modules()] == kinds


def test_pixels_that_come_normalised_are_embedded_by_vllm(make: Make) -> None:
    tower = make(norm=IdentityInputNorm())
    fuse(tower)
    assert type(tower.patch_embed) is Qwen3_VisionPatchEmbed
    assert type(tower.blocks[0]) is FusedBlock


def test_nothing_is_packed_or_fused_on_a_processor_without_such_products(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_packing, "supported", lambda: False)
    before = vllm_layers.dispatch_cpu_unquantized_gemm
    cpu_packing.install()
    assert vllm_layers.dispatch_cpu_unquantized_gemm is before
    tower = make(packing=False)
    kinds = [type(each) for each in tower.modules()]
    fuse(tower)
    assert [type(each) for each in tower.modules()] == kinds


def test_packing_is_installed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "dispatch_cpu_unquantized_gemm"
    monkeypatch.setattr(vllm_layers, name, lambda layer, remove_weight: None)
    cpu_packing.install()
    installed = getattr(vllm_layers, name)
    assert isinstance(installed, PackingDispatch)
    cpu_packing.install()
    assert getattr(vllm_layers, name) is installed


def test_layers_outside_a_tower_are_packed_by_vllm(make: Make) -> None:
    asked = []
    dispatch = PackingDispatch(lambda layer, remove_weight: asked.append((layer, remove_weight)))
    layer = make(packing=False).blocks[0].mlp.linear_fc1
    layer.prefix = "language_model.model.layers.0.mlp"
    dispatch(layer, True)
    assert asked == [(layer, True)]
    assert not isinstance(getattr(layer, "cpu_linear", None), PackedWeight)


def test_a_tower_is_handed_one_frame_of_pixels_and_all_of_the_rest(make: Make) -> None:
    seen: list[Any] = []

    def encode(model: Any, media: Any) -> list[torch.Tensor]:
        seen.append(media)
        return []

    model = torch.nn.Module()
    model.visual = make()
    once = frames_once(encode)
    pixels = {"type": "pixel_values", "pixel_values": frame_pixels(), "image_grid_thw": SIZES}
    embedded = {"type": "image_embeds", "image_embeds": torch.zeros(1), "image_grid_thw": SIZES}
    once(model, pixels)
    assert seen.pop() is pixels
    fuse(model)
    once(model, embedded)
    assert seen.pop() is embedded
    once(model, pixels)
    assert seen[0]["pixel_values"].shape == (PATCHES, 3, 16)
    assert seen[0]["image_grid_thw"] is SIZES
