"""What the Triton kernels compute, in torch: the definition, and what runs on devices without Triton.

`triton_softmax`, `triton_attention` and `triton_int8` have the same signatures. Sums, exponentials and
logarithms of rows are rounded in float64 in both; attention and products are rounded in the dtype of their
inputs, with float32 sums.
"""

from __future__ import annotations

from typing import Any

import torch

Tensor = Any


def log_softmax(logits: Tensor) -> Tensor:
    """(rows, vocab) float64 natural log-probabilities of the `logits` (rows, vocab)."""
    return torch.log_softmax(logits.double(), dim=-1)


def places_of(order: Tensor, vocab: int) -> Tensor:
    """(vocab,) int64: the text tokens `order` (n,) and then all other ids, for `sorted_log_softmax`."""
    others = torch.ones(vocab, dtype=torch.bool, device=order.device)
    others[order] = False
    return torch.cat([order, others.nonzero()[:, 0]])


def sorted_log_softmax(
    logits: Tensor, places: Tensor, text: int, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities in sorted order, and prefix sums of the probabilities.

    `logits` (rows, vocab); `places` (vocab,) int64 of `places_of`, the first `text` of which are the text
    tokens in lexicographic order; `allowed` (rows, text) bool, None for everything. The whole vocabulary
    counts in the normaliser. Returns (rows, text) float64 logs and (rows, text + 1) float64 sums over the
    allowed tokens, so that the mass of the sorted tokens [low, high) is prefix[:, high] − prefix[:, low].
    """
    logs = log_softmax(logits)[:, places[:text]]
    weights = logs.exp() if allowed is None else logs.exp() * allowed
    return logs, torch.nn.functional.pad(weights.cumsum(dim=1), (1, 0))


def range_masses(prefix: Tensor, rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(q,) float64 masses of the sorted tokens [low, high) in the given rows; all (q,) int64.

    Nothing goes to the CPU: on a GPU these are two gathers, for which no kernel of our own is faster.
    """
    return prefix[rows, high] - prefix[rows, low]


def int8_linear(inputs: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """(rows, outputs) inputs · weightᵀ · scales.

    `inputs` (rows, width), `weight` (outputs, width) int8, `scales` (outputs,).
    """
    return torch.nn.functional.linear(inputs, weight.to(inputs.dtype)) * scales


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
    """(query_heads, n, value_dim): attention of the n tokens of a tree to the cells of their own paths.

    `query` (query_heads, n, dim); `keys` (heads, used, dim) and `values` (heads, used, value_dim), where
    query_heads is a multiple of heads and query head h reads key head h // (query_heads / heads). Token i
    sees cell c iff `seen[paths[i], c] <= positions[i]`, and, with a `window`, iff besides `positions[i] −
    seen[paths[i], c] < window`. `seen` (sequences, used) int32; `paths`, `positions` (n,) int64. Each token
    must see a cell.
    """
    repeats = query.shape[0] // keys.shape[0]
    here, there = positions[:, None], seen[paths]
    visible = there <= here if window is None else (there <= here) & (here - there < window)
    scores = query.float() @ keys.float().repeat_interleave(repeats, 0).transpose(1, 2) * scale
    shares = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    return (shares @ values.float().repeat_interleave(repeats, 0)).to(query.dtype)
