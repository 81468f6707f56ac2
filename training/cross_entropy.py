"""Cross-entropy of next tokens without keeping their logits, the largest arrays of a training step.

The gradients are made on the way forward, a few rows at a time: softmax minus one-hot is at hand there, so
nothing is computed twice (as in Liger Kernel, Hsu et al. 2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training.compiled import compiled

ROWS = 16384
"""Rows of logits that exist at a time."""


def mean_cross_entropy(hidden: Tensor, matrix: Tensor, wanted: Tensor, share: Tensor) -> Tensor:
    """Σ share · cross-entropy / Σ share in nats, a scalar, float32.

    `hidden` (n, width) and `matrix` (vocab, width) make the logits, in the type of `hidden`; `wanted` (n,)
    are token ids, `share` (n,) their weights, float32. Gradients go to `hidden` and `matrix`.
    """
    loss: Tensor = _CrossEntropy.apply(hidden, matrix, wanted, share / share.sum())
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, matrix: Tensor, wanted: Tensor, share: Tensor) -> Tensor:
        outputs = matrix.to(hidden.dtype)
        total = share.new_zeros(())
        to_hidden, to_matrix = torch.empty_like(hidden), torch.zeros_like(matrix)
        step = compiled(_softmax_step) if hidden.is_cuda else _softmax_step
        for start in range(0, len(hidden), ROWS):
            rows = slice(start, start + ROWS)
            loss, to_logits = step(hidden[rows] @ outputs.T, wanted[rows], share[rows])
            total += loss
            to_hidden[rows] = to_logits @ outputs
            to_matrix += to_logits.T @ hidden[rows]
        ctx.save_for_backward(to_hidden, to_matrix)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_matrix = ctx.saved_tensors
        return to_hidden * gradient, to_matrix * gradient, None, None


def _softmax_step(logits: Tensor, wanted: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of some rows, and its gradient with respect to their logits."""
    exact = logits.float()
    log_sum = exact.logsumexp(-1, keepdim=True)
    said = exact.gather(-1, wanted[:, None])
    loss = ((log_sum - said)[:, 0] * share).sum()
    right = (torch.arange(logits.shape[-1], device=logits.device) == wanted[:, None]).float()
    return loss, (((exact - log_sum).exp() - right) * share[:, None]).to(logits.dtype)
