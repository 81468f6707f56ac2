"""Adding a low-rank delta to a model's matrices (Hu et al. 2021): W + (alpha / rank) · B A.

A delta is a GGUF in the form of llama.cpp's LoRA adapters: for some matrices NAME, `NAME.lora_a` (rank,
inputs) and `NAME.lora_b` (outputs, rank) in F16, and the number `adapter.lora.alpha`. Added once, it costs
nothing at run time. F16 numbers are multiples of 2⁻²⁴, so B A is exact in float64 while it is below 32: what
comes out is the same on every machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelCorrupt
from engine.models import gguf

Matrices = dict[str, NDArray[np.float16]]


def add_delta(model: Path, delta: Path) -> None:
    """Changes F16 matrices of the file `model` in place.

    Raises ModelCorrupt if `delta` is not a delta of this model; `model` may then be half changed.
    """
    matrices, parts = _matrices(model, "r+"), _matrices(delta, "r")
    alpha = gguf.read_metadata(delta).get("adapter.lora.alpha")
    names = [name.removesuffix(".lora_a") for name in parts if name.endswith(".lora_a")]
    if not alpha or not names:
        raise ModelCorrupt(f"{delta} is not a delta: it has no adapter.lora.alpha, or no matrices")
    for name in names:
        matrix, a, b = matrices.get(name), parts[f"{name}.lora_a"], parts.get(f"{name}.lora_b")
        if matrix is None or b is None or (b.shape[0], a.shape[1], a.shape[0]) != (*matrix.shape, b.shape[1]):
            raise ModelCorrupt(f"{delta} does not fit the model it is to be added to: see {name}")
        rows = b.any(axis=1)  # of an embedding a few
        product = b[rows].astype(np.float64) @ a.astype(np.float64)
        matrix[rows] = matrix[rows] + alpha / len(a) * product


def _matrices(path: Path, mode: Literal["r", "r+"]) -> Matrices:
    """The F16 tensors of two dimensions by name, mapped, (outputs, inputs)."""
    found = gguf.check(path)
    return {
        t.name: np.memmap(
            path, np.dtype("<f2"), mode, found.weights_start + t.offset_bytes, (t.shape[1], t.shape[0])
        )
        for t in found.tensors
        if t.type == "F16" and len(t.shape) == 2
    }
