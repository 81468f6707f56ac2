"""Adding a delta to a model's tensors. A delta is a GGUF that has one of two numbers in its metadata:

    adapter.lora.alpha    low rank, in the form of llama.cpp's adapters (Hu et al. 2021): for some matrices
                          NAME, `NAME.lora_a` (rank, inputs) and `NAME.lora_b` (outputs, rank) in F16; added
                          is (alpha / rank) · B A
    midword.delta.scale   full: all tensors of the model under their own names and in their own shapes,
                          matrices of any weight type; added is what llama.cpp dequantises, over the scale

Added once, either costs nothing at run time. F16 numbers are multiples of 2⁻²⁴, so B A is exact in float64
while it is below 32; of a full delta each number is a sum in float32, rounded once. So what comes out is the
same on every machine. The scale is a power of two: it keeps a small type's block scales, which are F16, out
of the subnormal numbers, where differences of weights would put them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelCorrupt
from engine.models import gguf
from engine.models.quantize import requantize

SCALE_KEY = "midword.delta.scale"
Matrices = dict[str, NDArray[np.float16]]
_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


def add_delta(model: Path, delta: Path) -> None:
    """Changes the file `model`, F16 matrices and F32 vectors, in place.

    A full delta is dequantised to a file beside `model` that is as large and does not outlive the call.
    Raises ModelCorrupt if `delta` is not a delta of this model, BackendError if llama.cpp cannot read it;
    `model` may then be half changed.
    """
    metadata = gguf.read_metadata(delta)
    if SCALE_KEY in metadata:
        _add_full(model, delta, metadata[SCALE_KEY])
    else:
        _add_low_rank(model, delta, metadata.get("adapter.lora.alpha"))


def _add_low_rank(model: Path, delta: Path, alpha: float | None) -> None:
    matrices, parts = _matrices(model, "r+"), _matrices(delta, "r")
    names = [name.removesuffix(".lora_a") for name in parts if name.endswith(".lora_a")]
    if not alpha or not names:
        raise ModelCorrupt(f"{delta} is not a delta: it has no adapter.lora.alpha, or no matrices")
    for name in names:
        matrix, a, b = matrices.get(name), parts[f"{name}.lora_a"], parts.get(f"{name}.lora_b")
        if matrix is None or b is None or (b.shape[0], a.shape[1], a.shape[0]) != (*matrix.shape, b.shape[1]):
            raise _does_not_fit(delta, name)
        rows = b.any(axis=1)  # of an embedding a few
        product = b[rows].astype(np.float64) @ a.astype(np.float64)
        matrix[rows] = matrix[rows] + alpha / len(a) * product


def _add_full(model: Path, delta: Path, scale: Any) -> None:
    if not isinstance(scale, int | float) or not scale > 0:
        raise ModelCorrupt(f"{delta} is not a delta: its {SCALE_KEY} is {scale!r}, not a positive number")
    tensors = gguf.check(model).tensors
    if small := next((t for t in tensors if t.type not in _TYPES), None):
        raise ModelCorrupt(f"{model} has {small.name} of type {small.type}, F16 expected to add a full delta")
    own, added = ({t.name: t.shape for t in found} for found in (tensors, gguf.check(delta).tensors))
    if different := sorted(name for name in own | added if own.get(name) != added.get(name)):
        raise _does_not_fit(delta, different[0])
    scratch = model.with_name(f"{model.name}.delta.part")
    try:
        requantize(delta, scratch, "f16")
        _add_tensors(model, scratch, scale)
    finally:
        scratch.unlink(missing_ok=True)


def _add_tensors(model: Path, differences: Path, scale: float) -> None:
    """One tensor at a time in float32."""
    added = _tensors(differences, "r")
    for name, tensor in _tensors(model, "r+").items():
        change = np.multiply(added[name], 1 / scale, dtype=np.float32)
        np.add(tensor, change, out=tensor, dtype=np.float32, casting="unsafe")


def _does_not_fit(delta: Path, name: str) -> ModelCorrupt:
    return ModelCorrupt(f"{delta} does not fit the model it is to be added to: see {name}")


def _matrices(path: Path, mode: Literal["r", "r+"]) -> Matrices:
    """The F16 tensors of two dimensions by name, mapped, (outputs, inputs)."""
    return {name: t for name, t in _tensors(path, mode).items() if t.dtype == np.float16 and t.ndim == 2}


def _tensors(path: Path, mode: Literal["r", "r+"]) -> dict[str, NDArray[Any]]:
    """The F16 and F32 tensors by name, mapped, (outputs, inputs) or (width,)."""
    found = gguf.check(path)
    return {
        t.name: np.memmap(path, _TYPES[t.type], mode, found.weights_start + t.offset_bytes, t.shape[::-1])
        for t in found.tensors
        if t.type in _TYPES
    }
