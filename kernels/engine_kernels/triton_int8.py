"""A linear layer with weights of 8 bits for few tokens: they are read as bytes and never written out wider.

A decode is as fast as its weights can be read, so half the bytes is nearly half the time; turning them into
bf16 first, as ordinary torch operations do, reads and writes more than bf16 weights would.

`torch_reference` states the contract. TRITON_INTERPRET=1 runs the kernel on the CPU, for tests.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

Tensor = Any

MOST_ROWS = 32
"""With more tokens the products matter more than reading the weights."""
_SIZES = [(32, 128, 4, 1)] if triton.knobs.runtime.interpret else [
    (16, 256, 2, 4), (16, 512, 4, 3), (32, 128, 4, 4), (32, 256, 4, 4), (64, 128, 4, 4),
]  # fmt: skip
_CONFIGS = [
    triton.Config({"OUT_BLOCK": out, "IN_BLOCK": inner}, num_warps=warps, num_stages=stages)
    for out, inner, warps, stages in _SIZES
]


def int8_linear(inputs: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """See `torch_reference.int8_linear`. Raises ValueError beyond MOST_ROWS."""
    rows, width = inputs.shape
    if rows > MOST_ROWS:
        raise ValueError(f"{rows} rows, at most {MOST_ROWS} expected")
    outputs = weight.shape[0]
    inputs = inputs.contiguous()
    out = inputs.new_empty((rows, outputs))
    _linear[lambda meta: (triton.cdiv(outputs, meta["OUT_BLOCK"]),)](
        inputs, weight, scales, out, rows, width, outputs, ROWS=max(16, triton.next_power_of_2(rows))
    )
    return out


@triton.autotune(_CONFIGS, key=["width", "outputs", "ROWS"], cache_results=True)
@triton.jit
def _linear(
    inputs, weight, scales, out, rows, width, outputs,
    ROWS: tl.constexpr, OUT_BLOCK: tl.constexpr, IN_BLOCK: tl.constexpr,
):  # fmt: skip
    row, column = tl.arange(0, ROWS), tl.program_id(0) * OUT_BLOCK + tl.arange(0, OUT_BLOCK)
    inner = tl.arange(0, IN_BLOCK)
    is_row, is_column = row < rows, column < outputs
    total = tl.zeros((ROWS, OUT_BLOCK), tl.float32)
    for first in range(0, width, IN_BLOCK):
        place = first + inner
        x = tl.load(
            inputs + row[:, None] * width + place[None, :],
            mask=is_row[:, None] & (place[None, :] < width), other=0.0,
        )  # fmt: skip
        w = tl.load(
            weight + column[None, :].to(tl.int64) * width + place[:, None],
            mask=is_column[None, :] & (place[:, None] < width), other=0,
        )  # fmt: skip
        total += tl.dot(x, w.to(x.dtype), input_precision="ieee")
    scale = tl.load(scales + column, mask=is_column, other=0.0).to(tl.float32)
    tl.store(
        out + row[:, None] * outputs + column[None, :], (total * scale[None, :]).to(out.dtype.element_ty),
        mask=is_row[:, None] & is_column[None, :],
    )  # fmt: skip
