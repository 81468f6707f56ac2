"""Torch backends on the CPU. Imported by tests that have made sure of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.backends.torch import TorchBackend
from engine.backends.torch_model import read_model


def opened(folder: Path, context_length: int, weights: str | None = None, **options: Any) -> TorchBackend:
    """The model of a folder; `options` as `TorchBackend` has them."""
    model = read_model(folder, weights, torch.device("cpu"))
    return TorchBackend(model, context_length=context_length, **options)
