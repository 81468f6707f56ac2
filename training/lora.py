"""Low-rank adaptation (Hu et al. 2021) of every matrix of a Llama; of the embedding, the sentinels' rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.examples import Sentinels
from training.llama import Block, Llama


class LowRank(nn.Module):
    """Weight (out, in) → weight + scale · B A."""

    def __init__(self, out: int, into: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, into) / into**0.5)
        self.b = nn.Parameter(torch.zeros(out, rank))
        self.scale = 2.0

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.b @ self.a)


def adapt(model: Llama, rank: int, sentinels: Sentinels) -> list[nn.Parameter]:
    """Freeze the model but for low-rank additions and the sentinels' rows. Returns what is trained."""
    model.requires_grad_(False)
    for block in model.blk:
        assert isinstance(block, Block)
        for module in block.children():
            if isinstance(module, nn.Linear):
                out, into = module.weight.shape
                parametrize.register_parametrization(module, "weight", LowRank(out, into, rank))
    rows = torch.zeros(model.shape.vocab, 1)
    rows[[sentinels.prefix, sentinels.suffix, sentinels.middle, sentinels.end]] = 1
    weight = model.token_embd.weight
    weight.requires_grad_(True)
    weight.register_hook(lambda gradient: gradient * rows.to(gradient.device))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def merge(model: Llama) -> None:
    """Make the additions part of the weights, so that the state has the GGUF's names again."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
