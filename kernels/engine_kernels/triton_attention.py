"""Attention of the few tokens of a tree over a long cache: flash decoding with paths instead of a mask.

The cells are split over many programs, as few queries alone would keep one multiprocessor per head busy and
the rest idle (Dao et al. 2023, "Flash-Decoding"). A program reads its cells' keys and values once for all
tokens and all query heads of a key head, decides from `seen` what each token sees, and leaves a maximum, a
sum and a weighted value; a second kernel joins the splits.

`torch_reference` states the contract. TRITON_INTERPRET=1 runs the kernels on the CPU, for tests.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

Tensor = Any

MOST_ROWS = 128
"""Most tokens times query heads of a key head; more are better served by ordinary attention."""
_PROGRAMS = 264
"""Twice the multiprocessors of an H100."""
_SMALLEST_SPLIT = 64
_INTERPRETED = triton.knobs.runtime.interpret
_SIZES = [(32, 4, 1)] if _INTERPRETED else [(32, 4, 3), (64, 4, 2), (64, 4, 3), (128, 8, 2)]
_CONFIGS = [
    triton.Config({"BLOCK": block}, num_warps=warps, num_stages=stages) for block, warps, stages in _SIZES
]


def tree_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor,
    paths: Tensor,
    positions: Tensor,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """See `torch_reference.tree_attention`. Raises ValueError beyond MOST_ROWS."""
    query_heads, n, dim = query.shape
    heads, used, value_dim = values.shape
    rows = query_heads // heads * n
    if rows > MOST_ROWS:
        raise ValueError(f"{rows} rows for each key head, at most {MOST_ROWS} expected")
    query = query.contiguous()
    splits = max(1, min(_PROGRAMS // heads, triton.cdiv(used, _SMALLEST_SPLIT)))
    parts = query.new_empty((heads, splits, rows, value_dim), dtype=torch.float32)
    sums = query.new_empty((2, heads, splits, rows), dtype=torch.float32)
    out = query.new_empty((query_heads, n, value_dim))
    dims = {"DIM": dim, "VALUE_DIM": value_dim, "DIM_BLOCK": max(16, triton.next_power_of_2(dim)),
            "VALUE_BLOCK": max(16, triton.next_power_of_2(value_dim))}  # fmt: skip
    _attend[(heads, splits)](
        query, keys, values, seen, paths, positions, parts, sums, n, used, rows, splits,
        keys.stride(0), keys.stride(1), values.stride(0), values.stride(1), seen.stride(0),
        scale, 0 if window is None else window, triton.next_power_of_2(used),
        ROWS=max(16, triton.next_power_of_2(rows)), HAS_WINDOW=window is not None, **dims,
    )  # fmt: skip
    _join[(heads, rows)](
        parts, sums, out, heads, rows, splits, VALUE_DIM=value_dim, VALUE_BLOCK=dims["VALUE_BLOCK"],
        SPLITS=triton.next_power_of_2(splits),
    )  # fmt: skip
    return out


@triton.autotune(_CONFIGS, key=["used_size", "ROWS", "DIM"], cache_results=True)
@triton.jit
def _attend(
    query, keys, values, seen, paths, positions, parts, sums, n, used, rows, splits,
    key_head, key_cell, value_head, value_cell, seen_row, scale, window, used_size,
    ROWS: tl.constexpr, HAS_WINDOW: tl.constexpr, DIM: tl.constexpr, VALUE_DIM: tl.constexpr,
    DIM_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    head, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, d, e = tl.arange(0, ROWS), tl.arange(0, DIM_BLOCK), tl.arange(0, VALUE_BLOCK)
    is_row = row < rows
    token = row % n
    path = tl.load(paths + token, mask=is_row, other=0)
    position = tl.load(positions + token, mask=is_row, other=-1).to(tl.int32)
    q = tl.load(
        query + (head * rows + row[:, None]) * DIM + d[None, :],
        mask=is_row[:, None] & (d[None, :] < DIM), other=0.0,
    )  # fmt: skip
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    part = tl.zeros((ROWS, VALUE_BLOCK), tl.float32)
    blocks = tl.cdiv(tl.cdiv(used, BLOCK), splits)
    start = split * blocks * BLOCK
    end = tl.minimum(start + blocks * BLOCK, used)
    for first in range(start, end, BLOCK):
        cell = first + tl.arange(0, BLOCK)
        is_cell = cell < used
        k = tl.load(
            keys + head * key_head + cell[None, :] * key_cell + d[:, None],
            mask=is_cell[None, :] & (d[:, None] < DIM), other=0.0,
        )  # fmt: skip
        v = tl.load(
            values + head * value_head + cell[:, None] * value_cell + e[None, :],
            mask=is_cell[:, None] & (e[None, :] < VALUE_DIM), other=0.0,
        )  # fmt: skip
        there = tl.load(
            seen + path[:, None] * seen_row + cell[None, :],
            mask=is_row[:, None] & is_cell[None, :], other=1 << 30,
        )  # fmt: skip
        visible = there <= position[:, None]
        if HAS_WINDOW:
            visible = visible & (position[:, None] - there < window)
        score = tl.dot(q, k, input_precision="ieee") * scale
        score = tl.where(visible, score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, axis=1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        weight = tl.exp(score - base[:, None])
        shrink = tl.exp(top - base)
        total = total * shrink + tl.sum(weight, axis=1)
        part = part * shrink[:, None] + tl.dot(weight.to(v.dtype), v, input_precision="ieee")
        top = higher
    slot = (head * splits + split) * rows + row
    tl.store(sums + slot, top, mask=is_row)
    tl.store(sums + tl.num_programs(0) * splits * rows + slot, total, mask=is_row)
    tl.store(
        parts + slot[:, None] * VALUE_DIM + e[None, :], part,
        mask=is_row[:, None] & (e[None, :] < VALUE_DIM),
    )  # fmt: skip


@triton.jit
def _join(
    parts, sums, out, heads, rows, splits,
    VALUE_DIM: tl.constexpr, VALUE_BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    head, row = tl.program_id(0).to(tl.int64), tl.program_id(1)
    split, e = tl.arange(0, SPLITS), tl.arange(0, VALUE_BLOCK)
    is_split, is_value = split < splits, e < VALUE_DIM
    slot = (head * splits + split) * rows + row
    top = tl.load(sums + slot, mask=is_split, other=float("-inf"))
    total = tl.load(sums + heads * splits * rows + slot, mask=is_split, other=0.0)
    share = tl.exp(top - tl.max(top, axis=0))
    part = tl.load(
        parts + slot[:, None] * VALUE_DIM + e[None, :],
        mask=is_split[:, None] & is_value[None, :], other=0.0,
    )  # fmt: skip
    value = tl.sum(part * share[:, None], axis=0) / tl.sum(total * share, axis=0)
    tl.store(out + (head * rows + row) * VALUE_DIM + e, value.to(out.dtype.element_ty), mask=is_value)
