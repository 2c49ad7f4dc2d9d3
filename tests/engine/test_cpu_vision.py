from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention
from vllm.platforms import current_platform

from lrm_server.engine import cpu_vision
from lrm_server.engine.cpu_vision import (
    BatchedEncoderAttention,
    attend_by_products,
    each_by_itself,
    positions_once,
)

HEADS, SIZE = 3, 16

pytestmark = pytest.mark.skipif(
    not current_platform.is_cpu(), reason="this vLLM is built for a GPU, where its own tower is"
)


@pytest.fixture
def attention() -> Iterator[BatchedEncoderAttention]:
    with set_current_vllm_config(VllmConfig()):
        yield BatchedEncoderAttention(HEADS, SIZE)


@pytest.mark.parametrize("lengths", [[16, 16, 16], [16, 4, 36], [64], [4, 4]])
def test_images_are_attended_to_as_one_after_another(
    attention: BatchedEncoderAttention, lengths: list[int]
) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, sum(lengths), HEADS, SIZE).unbind(0)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    found = attention.forward_cpu(query, key, value, bounds)
    alone = MMEncoderAttention.forward_cpu(attention, query, key, value, bounds)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


def test_images_of_one_size_are_attended_to_in_one_call(
    attention: BatchedEncoderAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    real = cpu_vision.scaled_dot_product_attention

    def counted(query: torch.Tensor, *rest: torch.Tensor, **options: object) -> torch.Tensor:
        shapes.append(tuple(query.shape))
        return real(query, *rest, **options)

    monkeypatch.setattr(cpu_vision, "scaled_dot_product_attention", counted)
    query = torch.randn(1, 48, HEADS * SIZE)
    attention.forward_cpu(query, query, query, torch.tensor([0, 16, 32, 48]))
    assert shapes == [(3, HEADS, 16, SIZE)]


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
@pytest.mark.parametrize("at_once", [1, 5 * HEADS * 64**2, cpu_vision.MOST_WEIGHTS])
def test_products_attend_nearly_as_exactly_as_pytorchs_one_call(
    sharpness: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_vision, "MOST_WEIGHTS", at_once)
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 12, 64, HEADS, SIZE).transpose(2, 3).unbind(0)
    queries, keys, values = (
        each.bfloat16() for each in (queries * sharpness, keys * sharpness, values)
    )
    scale = SIZE**-0.5
    exact = cpu_vision.scaled_dot_product_attention(
        queries.float(), keys.float(), values.float(), scale=scale
    )
    one_call = cpu_vision.scaled_dot_product_attention(queries, keys, values, scale=scale)
    found = attend_by_products(queries, keys, values, scale)
    # Scores in bfloat16 would make it six times at the sharper.
    assert (found - exact).pow(2).mean() < 1.5**2 * (one_call - exact).pow(2).mean()


def test_products_attend_where_gradients_are_followed_as_in_a_compiled_model() -> None:
    queries, keys, values = torch.randn(3, 12, HEADS, 64, SIZE).bfloat16().unbind(0)
    found = attend_by_products(queries.requires_grad_(), keys, values, SIZE**-0.5)
    assert found.shape == queries.shape


@pytest.mark.parametrize(
    ("images", "patches", "dtype", "by_products"),
    [
        (23, 64, torch.bfloat16, True),
        (23, 64, torch.float32, False),
        (2, 64, torch.bfloat16, False),
        (2, cpu_vision.PRODUCT_PATCHES, torch.bfloat16, True),
        (2, cpu_vision.PRODUCT_PATCHES + 4, torch.bfloat16, False),
    ],
)
def test_many_small_images_are_attended_to_by_products(
    attention: BatchedEncoderAttention,
    images: int,
    patches: int,
    dtype: torch.dtype,
    by_products: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []
    for name in ("attend_by_products", "scaled_dot_product_attention"):
        real = getattr(cpu_vision, name)

        def counted(*rest: object, name: str = name, real: Any = real, **options: object) -> Any:
            used.append(name)
            return real(*rest, **options)

        monkeypatch.setattr(cpu_vision, name, counted)
    query = torch.randn(1, images * patches, HEADS * SIZE).to(dtype)
    bounds = torch.arange(images + 1) * patches
    found = attention.forward_cpu(query, query, query, bounds)
    assert used == ["attend_by_products" if by_products else "scaled_dot_product_attention"]
    alone = MMEncoderAttention.forward_cpu(attention, query, query, query, bounds)
    torch.testing.assert_close(found, alone, atol=0.02, rtol=0.02)


def test_the_positions_of_a_size_are_interpolated_once_for_a_tower() -> None:
    asked: list[list[Sequence[int]]] = []

    def interpolate(tower: torch.nn.Module, sizes: Sequence[Sequence[int]]) -> torch.Tensor:
        asked.append(list(sizes))
        return torch.full((1, 1), float(sizes[0][1]))

    once = positions_once(interpolate)
    tower, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    assert once(tower, [[1, 8, 8], [1, 4, 4], [1, 8, 8]]).flatten().tolist() == [8, 4, 8]
    assert once(tower, [[1, 4, 4]]).flatten().tolist() == [4]
    assert len(asked) == 2
    once(other, [[1, 8, 8]])
    assert len(asked) == 3


def test_positions_of_ever_new_sizes_do_not_pile_up() -> None:
    asked = 0

    def interpolate(tower: torch.nn.Module, sizes: Sequence[Sequence[int]]) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return torch.zeros(sizes[0][1], 1, dtype=torch.uint8)

    once = positions_once(interpolate)
    tower = torch.nn.Linear(1, 1)
    quarter = cpu_vision.MAX_BYTES // 4
    for more in range(5):
        once(tower, [[1, quarter - more, 1]])
    once(tower, [[1, quarter, 1]])
    assert asked == 6
    # What is over the bound by itself is not kept, and right all the same.
    for _ in range(2):
        assert once(tower, [[1, cpu_vision.MAX_BYTES + 1, 1]]).nbytes == cpu_vision.MAX_BYTES + 1
    assert asked == 8


def test_an_image_that_is_kept_does_not_keep_the_batch_that_it_was_encoded_in() -> None:
    batch = torch.arange(60.0).view(12, 5)

    def encode(model: torch.nn.Module, media: object) -> Sequence[torch.Tensor]:
        return batch.split([2, 4, 6])

    found = each_by_itself(encode)(torch.nn.Linear(1, 1), None)
    assert torch.equal(torch.cat(list(found)), batch)
    assert [each.untyped_storage().nbytes() for each in found] == [40, 80, 120]
