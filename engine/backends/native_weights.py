"""Which files the native forward pass takes, and how their weights come into memory.

Without numpy, whose import takes as long as reading the weights: the engine process does both at once.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import ModelCorrupt
from engine.models.gguf import Gguf
from engine.models.gguf_reader import TensorInfo

PREFILL_CHUNK = 256
"""Most tokens in one evaluation."""
TREE_CELLS = 64
"""Room for a tree behind a context that fills its own."""
MOST_THREADS = 8
"""More wait for memory and for each other."""
SWITCH_S = 0.0005
"""While weights are read, other threads give Python's lock up after so long: each of hundreds of tensors
needs it for a moment. Python's own 5 ms would have them wait longer than they take."""
BLOCK = 32
"""Weights with one scale in Q8_0; head, hidden layer and width must be whole blocks."""

NOT_BUILT = "the kernels were not compiled, or the processor has no AVX2"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a family of models does in its own way."""

    rotates_halves: bool = False
    """Positions rotate numbers of a head's two halves, not neighbours."""
    biases: tuple[str, ...] = ()


ARCHITECTURES = {
    "llama": Architecture(),
    "qwen2": Architecture(rotates_halves=True, biases=("attn_q.bias", "attn_k.bias", "attn_v.bias")),
}
_NORMS = ("attn_norm", "ffn_norm", "output_norm")
_EMBEDDINGS = ("token_embd", "output")
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def known_instructions() -> list[str]:
    """The sets of instructions that the forward pass can use on this processor, the best first; none: the
    kernels were not compiled, or this processor cannot run them."""
    transformer = _transformer()
    return [] if transformer is None else list(transformer.instructions())


def _transformer() -> Any:
    """The compiled class; None if the kernels were not compiled, or not for this kind of processor."""
    try:
        return getattr(import_module("engine_kernels._native"), "Transformer", None)
    except ImportError:
        return None


def why_not(gguf: Gguf) -> str | None:
    """Why this file, or this machine, needs llama.cpp; None if it does not."""
    if not known_instructions():
        return NOT_BUILT
    metadata = gguf.metadata
    if (name := _architecture(gguf)) not in ARCHITECTURES:
        return f"the architecture is {name}"
    others = {t.type for t in gguf.tensors if t.type != ("F32" if len(t.shape) == 1 else "Q8_0")}
    if others:
        return f"there are weights of type {', '.join(sorted(others))}"
    sizes = _sizes(gguf)
    if not all(sizes.values()):
        return "the sizes are not one number each"
    if any(size % BLOCK for size in (sizes["width"], sizes["hidden"], sizes["dimension"])):
        return "the sizes are not multiples of 32"
    if _whole(metadata, f"{name}.rope.dimension_count") not in (0, sizes["dimension"]):
        return "only a part of a head is rotated"
    expected = {(vector, True) for vector in (*_NORMS, *ARCHITECTURES[name].biases)}
    expected |= {(matrix, False) for matrix in (*_MATRICES, *_EMBEDDINGS)}
    if others := {t.name for t in gguf.tensors if (_place(t)[0], len(t.shape) == 1) not in expected}:
        return f"there are tensors {', '.join(sorted(others))}"
    if metadata.get(f"{name}.rope.scaling.type", "none") != "none" or f"{name}.expert_count" in metadata:
        return "positions are scaled, or there are experts"
    return None


class Loading:
    """One model file on its way into memory, in a thread of its own.

    Reading takes a tenth of a second and more, of which Python's lock is needed only between tensors: other
    modules are imported, and a tokenizer's tables read, meanwhile.
    """

    def __init__(
        self,
        path: Path,
        gguf: Gguf,
        *,
        context_length: int,
        threads: int | None = None,
        kv_bytes: int | None = None,
        instructions: str | None = None,
    ) -> None:
        """Starts. `why_not(gguf)` must be None.

        `context_length` bounds a path. Keys and values that stay in the cache take `kv_bytes` at most, or
        what the path that is scored needs; None: as much as the longest path. `instructions`: one of
        `known_instructions()`; None: the best.
        """
        architecture, metadata = _architecture(gguf), gguf.metadata
        self.sizes = _sizes(gguf)
        self.context_length = min(context_length, _whole(metadata, f"{architecture}.context_length"))
        self.cells = self.context_length + TREE_CELLS
        native = _transformer()
        of_cell = {name: self.sizes[name] for name in ("layers", "kv_heads", "dimension")}
        kept = self.cells if kv_bytes is None else kv_bytes // native.cell_bytes(**of_cell)
        self._model = native(
            **self.sizes,
            epsilon=float(metadata[f"{architecture}.attention.layer_norm_rms_epsilon"]),
            rope_base=float(metadata.get(f"{architecture}.rope.freq_base", 10_000.0)),
            rotates_halves=ARCHITECTURES[architecture].rotates_halves,
            cells=max(self.cells, kept),
            kept=kept,
            largest_batch=PREFILL_CHUNK,
            threads=threads or min(os.cpu_count() or 1, MOST_THREADS),
            instructions=instructions or known_instructions()[0],
        )
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(path, gguf), daemon=True)
        self._thread.start()

    def transformer(self) -> Any:
        """The model with its weights, as soon as they are there. Raises ModelCorrupt."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._model

    def _run(self, path: Path, gguf: Gguf) -> None:
        usual_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            _load(self._model, path, gguf, self.sizes["layers"])
        except Exception as error:
            self._error = error
        finally:
            sys.setswitchinterval(usual_s)


def _whole(metadata: dict[str, Any], key: str) -> int:
    value = metadata.get(key)
    return value if isinstance(value, int) else 0


def _architecture(gguf: Gguf) -> str:
    return str(gguf.metadata.get("general.architecture"))


def _sizes(gguf: Gguf) -> dict[str, int]:
    def whole(key: str) -> int:
        return _whole(gguf.metadata, f"{_architecture(gguf)}.{key}")

    width, heads = whole("embedding_length"), whole("attention.head_count")
    return {
        "layers": whole("block_count"),
        "width": width,
        "heads": heads,
        "kv_heads": whole("attention.head_count_kv") or heads,
        "dimension": whole("attention.key_length") or width // max(1, heads),
        "hidden": whole("feed_forward_length"),
        "vocab": next((t.shape[-1] for t in gguf.tensors if t.name == "token_embd.weight"), 0),
    }


def _load(model: Any, path: Path, gguf: Gguf, layers: int) -> None:
    """Gives every tensor of the file to the model."""
    of_layer = (*_NORMS[:2], *_MATRICES, *ARCHITECTURES[_architecture(gguf)].biases)
    wanted = {(name, layer) for name in of_layer for layer in range(layers)}
    wanted |= {("output_norm", 0), ("token_embd", 0)}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for tensor in gguf.tensors:
            name, layer, is_vector = _place(tensor)
            start = gguf.weights_start + tensor.offset_bytes
            with memoryview(view) as whole, whole[start : start + tensor.size_bytes] as part:
                try:
                    _give(model, layer, name, part, is_vector)
                except (ValueError, IndexError) as error:
                    raise ModelCorrupt(f"{path}: {tensor.name} cannot be used ({error})") from None
            wanted.discard((name, layer))
            _release(view, start, tensor.size_bytes)
    if wanted:
        raise ModelCorrupt(f"{path} has no {', '.join(sorted({name for name, _ in wanted}))}")


def _give(model: Any, layer: int, name: str, part: memoryview, is_vector: bool) -> None:
    if is_vector:
        with part.cast("f") as numbers:
            model.set_vector(layer, name, numbers)
    else:
        model.set_matrix(layer, name, part)


def _release(view: mmap.mmap, start: int, size: int) -> None:
    """Gives the whole pages of a part of a mapped file back; reading them again would be right but slow."""
    first, end = -(-start // mmap.PAGESIZE), (start + size) // mmap.PAGESIZE
    if end > first and hasattr(mmap, "MADV_DONTNEED"):
        view.madvise(mmap.MADV_DONTNEED, first * mmap.PAGESIZE, (end - first) * mmap.PAGESIZE)


def _place(tensor: TensorInfo) -> tuple[str, int, bool]:
    """A tensor's name without its layer and `.weight`, its layer (0 if it has none), and whether it is a
    vector."""
    name, layer = tensor.name.removesuffix(".weight"), 0
    if name.startswith("blk.") and name.count(".") > 1:
        _, number, name = name.split(".", 2)
        layer = int(number)
    return name, layer, len(tensor.shape) == 1
