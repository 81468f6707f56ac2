"""Linear layers with weights of 8 bits: one scale for each output, activations as they are.

w ≈ scale · q with q = round(w / scale), scale = max|w| / 127 over the weights of one output, so the result is
(x · qᵀ) · scale and at most scale / 2 off in each weight. Half the memory of bf16, and half of what a decode
has to read. Imported only when a model is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from engine.backends.torch_kv import Tensor
from engine_kernels import torch_reference


def to_int8(model: Any) -> None:
    """Replaces the weights of all linear layers of a module, in place."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            _convert(module)


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs, inputs) int8 and (outputs,) scales, the latter in the dtype of `weight`."""
    scales = weight.float().abs().amax(dim=1).clamp_min(1e-12) / 127
    rounded = (weight.float() / scales[:, None]).round().to(torch.int8)
    return rounded, scales.to(weight.dtype)


def int8_linear(module: Any, inputs: Tensor) -> Tensor:
    """inputs (…, width) → (…, outputs)."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    out = linear_for(rows)(rows, module.int8_weight, module.int8_scales)
    out = out.reshape(*inputs.shape[:-1], out.shape[-1])
    return out if module.bias is None else out + module.bias


def linear_for(rows: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The kernel for few rows on CUDA, else torch's own operations."""
    if rows.device.type == "cuda":
        try:
            from engine_kernels import triton_int8
        except ImportError:
            return torch_reference.int8_linear
        if len(rows) <= triton_int8.MOST_ROWS:
            return triton_int8.int8_linear
    return torch_reference.int8_linear


def _convert(module: Any) -> None:
    rounded, scales = quantise_rows(module.weight.detach())
    del module.weight
    module.register_buffer("int8_weight", rounded)
    module.register_buffer("int8_scales", scales)
    module.forward = partial(int8_linear, module)
