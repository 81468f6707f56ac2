"""Log-softmax of several rows at once, in sorted order and with prefix sums, in two passes on the GPU.

A row is cut into chunks. Pass 1 gathers a chunk's logits in sorted order and keeps its maximum m, the sum
s = Σ exp(l − m), the sum t of the allowed exp(l − m) and their running sums. From m, s and t of all chunks
pass 2 knows log Z = log Σ s·exp(m) and the mass before each chunk, Σ t·exp(m − log Z), so it scales and
shifts the running sums in place. Nothing is sorted and nothing goes to the CPU.

`torch_reference` states the contract. TRITON_INTERPRET=1 runs the kernels on the CPU, for tests.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

Tensor = Any

SMALLEST_BLOCK = 256
_SIZES = [(1024, 4)] if triton.knobs.runtime.interpret else [(256, 2), (512, 4), (1024, 4), (2048, 8)]
_CONFIGS = [triton.Config({"BLOCK": block}, num_warps=warps) for block, warps in _SIZES]


def log_softmax(logits: Tensor) -> Tensor:
    """See `torch_reference.log_softmax`."""
    vocab = logits.shape[1]
    return _run(logits, None, vocab, None)[0]


def sorted_log_softmax(
    logits: Tensor, places: Tensor, text: int, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `torch_reference.sorted_log_softmax`."""
    return _run(logits, places, text, allowed)


def _run(logits: Tensor, places: Tensor | None, text: int, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    rows, vocab = logits.shape
    is_sorted = places is not None
    logs = logits.new_empty((rows, text), dtype=torch.float64)
    prefix = logits.new_empty((rows, text + 1 if is_sorted else 0), dtype=torch.float64)
    if rows == 0:
        return logs, prefix
    most_chunks = triton.cdiv(vocab, SMALLEST_BLOCK)
    sums = logits.new_empty((3, rows, most_chunks), dtype=torch.float64)
    masked = allowed is not None
    _chunk_sums[lambda meta: (rows, triton.cdiv(vocab, meta["BLOCK"]))](
        logits, places if is_sorted else logits, allowed if masked else logits, prefix, sums,
        vocab, text, logits.stride(0), rows, most_chunks, IS_SORTED=is_sorted, MASKED=masked,
    )  # fmt: skip
    block = _chunk_sums.best_config.kwargs["BLOCK"]
    chunks = triton.cdiv(vocab, block)
    _scale_chunks[(rows, triton.cdiv(text, block))](
        logits, places if is_sorted else logits, prefix, logs, sums, vocab, text, logits.stride(0), rows,
        most_chunks, chunks, IS_SORTED=is_sorted, BLOCK=block, CHUNKS=triton.next_power_of_2(chunks),
    )  # fmt: skip
    return logs, prefix


@triton.autotune(_CONFIGS, key=["vocab", "rows", "IS_SORTED"], cache_results=True)
@triton.jit
def _chunk_sums(
    logits, places, allowed, prefix, sums, vocab, text, stride, rows, most_chunks,
    IS_SORTED: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    index = chunk * BLOCK + tl.arange(0, BLOCK)
    inside = index < vocab
    place = tl.load(places + index, mask=inside, other=0) if IS_SORTED else index
    logit = tl.load(logits + row * stride + place, mask=inside, other=float("-inf")).to(tl.float64)
    top = tl.max(logit, axis=0)
    top = tl.where(top == float("-inf"), 0.0, top)
    weight = tl.where(inside, tl.exp(logit - top), 0.0)
    slot = sums + row * most_chunks + chunk
    tl.store(slot, top)
    tl.store(slot + rows * most_chunks, tl.sum(weight, axis=0))
    if IS_SORTED:
        counted = index < text
        if MASKED:
            counted = counted & (tl.load(allowed + row * text + index, mask=counted, other=0) != 0)
        weight = tl.where(counted, weight, 0.0)
        tl.store(slot + 2 * rows * most_chunks, tl.sum(weight, axis=0))
        tl.store(prefix + row * (text + 1) + 1 + index, tl.cumsum(weight, axis=0), mask=index < text)


@triton.jit
def _scale_chunks(
    logits, places, prefix, logs, sums, vocab, text, stride, rows, most_chunks, chunks,
    IS_SORTED: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    other = tl.arange(0, CHUNKS)
    slots, there = sums + row * most_chunks + other, other < chunks
    top = tl.load(slots, mask=there, other=float("-inf"))
    total = tl.load(slots + rows * most_chunks, mask=there, other=0.0)
    highest = tl.max(top, axis=0)
    log_z = highest + tl.log(tl.sum(total * tl.exp(top - highest), axis=0))
    index = chunk * BLOCK + tl.arange(0, BLOCK)
    inside = index < text
    place = tl.load(places + index, mask=inside, other=0) if IS_SORTED else index
    logit = tl.load(logits + row * stride + place, mask=inside, other=0.0).to(tl.float64)
    tl.store(logs + row * text + index, logit - log_z, mask=inside)
    if IS_SORTED:
        share = tl.exp(top - log_z)
        weight = tl.load(slots + 2 * rows * most_chunks, mask=there, other=0.0)
        before = tl.sum(tl.where(other < chunk, weight * share, 0.0), axis=0)
        scale = tl.sum(tl.where(other == chunk, share, 0.0), axis=0)
        at = prefix + row * (text + 1) + 1 + index
        tl.store(at, tl.load(at, mask=inside, other=0.0) * scale + before, mask=inside)
        if chunk == 0:
            tl.store(prefix + row * (text + 1), 0.0)
