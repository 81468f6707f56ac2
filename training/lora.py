"""Low-rank adaptation (Hu et al. 2021) of every matrix of a Llama; of the embedding, the sentinels' rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.examples import Sentinels
from training.llama import Block, Llama


class LowRank(nn.Linear):
    """x ↦ (W + SCALE · B A) x with W fixed. B and A are multiplied with x: so W needs no gradient."""

    SCALE = 2.0

    def __init__(self, fixed: nn.Linear, rank: int) -> None:
        super().__init__(fixed.in_features, fixed.out_features, bias=False, device="meta")
        self.weight = fixed.weight
        self.a = nn.Parameter(torch.randn(rank, fixed.in_features) / fixed.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(fixed.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        return nn.functional.linear(x, self.weight) + self.SCALE * (x @ self.a.T @ self.b.T)

    def merged(self) -> nn.Linear:
        """An ordinary layer with the addition in its weight."""
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter((self.weight + self.SCALE * (self.b @ self.a)).detach())
        return plain


def adapt(model: Llama, rank: int, sentinels: Sentinels) -> list[nn.Parameter]:
    """Freeze the model but for low-rank additions and the sentinels' rows. Returns what is trained."""
    model.requires_grad_(False)
    for block in model.blk:
        assert isinstance(block, Block)
        for name, module in list(block.named_children()):
            if isinstance(module, nn.Linear):
                setattr(block, name, LowRank(module, rank))
    rows = torch.zeros(model.shape.vocab, 1)
    rows[[sentinels.prefix, sentinels.suffix, sentinels.middle, sentinels.end]] = 1
    weight = model.token_embd.weight
    weight.requires_grad_(True)
    weight.register_hook(lambda gradient: gradient * rows.to(gradient.device))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def merge(model: Llama) -> None:
    """Make the additions part of the weights, so that the state has the GGUF's names again."""
    for block in model.blk:
        for name, module in list(block.named_children()):
            if isinstance(module, LowRank):
                setattr(block, name, module.merged())
