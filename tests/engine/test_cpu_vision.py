from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention
from vllm.platforms import current_platform

from lrm_server.engine import cpu_vision
from lrm_server.engine.cpu_vision import (
    BatchedEncoderAttention,
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
