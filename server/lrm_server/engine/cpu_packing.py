"""Weights of vision towers in oneDNN's layout, with products that apply what follows them.

vLLM 0.32 packs a linear layer's weight as soon as it is loaded and drops the original
(model_executor/layers/utils.py), for products that apply no more than a bias.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias

import torch
from vllm.model_executor.layers import utils as vllm_layers
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
)
from vllm.platforms import CpuArchEnum, current_platform

TOWER: Final = "visual."
"""In the name of each layer of a tower, whichever model it is part of."""
PLAIN: Final = (ColumnParallelLinear, QKVParallelLinear, RowParallelLinear)

Dispatch: TypeAlias = Callable[[torch.nn.Module, bool], None]


class PackedWeight:
    """A linear layer's weight in oneDNN's own layout, and its products.

    Args:
        weight: bfloat16 (outputs, inputs). What is held takes as many bytes.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._product: Any = torch.ops.mkldnn._linear_pointwise

    def __call__(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The product, as vLLM calls a layer's function.

        Args:
            x: (..., inputs).
            weight: not needed; vLLM's layer has none left.
            bias: (outputs,), or None.

        Returns:
            (..., outputs).
        """
        product: torch.Tensor = self._product(x, self._weight, bias, "none", [], "")
        return product

    def gelu(self, x: torch.Tensor, bias: torch.Tensor, approximate: str) -> torch.Tensor:
        """GELU of the product; ``approximate`` as ``torch.nn.functional.gelu`` has it."""
        product: torch.Tensor = self._product(x, self._weight, bias, "gelu", [], approximate)
        return product

    def plus(self, x: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product and a residual, (..., outputs)."""
        product: torch.Tensor = self._product.binary(x, residual, self._weight, bias, "add")
        return product


class PackingDispatch:
    """vLLM's choice of a linear layer's function, which packs its weight; a tower's as above.

    Args:
        dispatch: vLLM's.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def __call__(self, layer: Any, remove_weight: bool) -> None:
        """Sets ``layer.cpu_linear``.

        Args:
            layer: unquantized, with its weight loaded.
            remove_weight: whether the layer's own weight is dropped.
        """
        weight = layer.weight
        if (
            type(layer) in PLAIN
            and TOWER in layer.prefix
            and remove_weight
            and weight.dtype == torch.bfloat16
            and not weight.is_meta
        ):
            layer.cpu_linear = PackedWeight(weight.data)
            layer.weight = torch.nn.Parameter(weight.new_empty(0), requires_grad=False)
        else:
            self._dispatch(layer, remove_weight)


def packed(layer: Any) -> bool:
    """Whether a layer is a packed weight's product and a bias, and nothing else.

    A layer that is quantized, under an adapter, or one of several processes' is not.
    """
    return (
        type(layer) in PLAIN
        and isinstance(getattr(layer, "cpu_linear", None), PackedWeight)
        and layer.bias is not None
        and not layer.skip_bias_add
        and layer.tp_size == 1
    )


def install() -> None:
    """Packs so the weights of towers that this process loads from now on."""
    dispatch: Any = vllm_layers.dispatch_cpu_unquantized_gemm
    if supported() and not isinstance(dispatch, PackingDispatch):
        vllm_layers.dispatch_cpu_unquantized_gemm = PackingDispatch(dispatch)


@cache
def supported() -> bool:
    """Whether PyTorch has oneDNN's bfloat16 products on this processor; else they are slow."""
    return (
        current_platform.get_cpu_architecture() == CpuArchEnum.X86
        and not current_platform.is_zen_cpu()  # vLLM's platform with products of its own
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
