"""A forward pass of our own, for Llamas of 8-bit weights on processors with AVX2.

For batches of a few rows and for prompts it is about twice as fast as llama.cpp, and a row is the same bit
for bit whatever else is in the batch (docs/decisions/0016-a-forward-pass-of-our-own.md). Everything else is
left to `backends.llama_cpp`; `why_not` says what.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends.base import StopSignal
from engine.backends.chunks import ChunkSize
from engine.errors import BackendError, Cancelled, ModelCorrupt
from engine.models.gguf import Gguf
from engine.models.gguf_reader import TensorInfo
from engine.tree import TokenTree
from engine.vocab import FloatArray

PREFILL_CHUNK = 256
"""Most tokens in one evaluation."""
TREE_CELLS = 64
"""Room for a tree behind a context that fills its own."""
MOST_THREADS = 8
"""More wait for memory and for each other."""
BLOCK = 32
"""Weights with one scale in Q8_0; head, hidden layer and width must be whole blocks."""

NOT_BUILT = "the kernels were not compiled, or the processor has no AVX2"

_NORMS = ("attn_norm", "ffn_norm", "output_norm")
_EMBEDDINGS = ("token_embd", "output")
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def is_built() -> bool:
    """Whether the kernels were compiled and this processor can run them."""
    try:
        module = import_module("engine_kernels._transformer")
    except ImportError:
        return False
    # An older build cannot plan.
    return bool(module.is_supported()) and hasattr(module.Transformer, "begin")


def why_not(gguf: Gguf) -> str | None:
    """Why this file, or this machine, needs llama.cpp; None if it does not."""
    if not is_built():
        return NOT_BUILT
    metadata = gguf.metadata
    if (architecture := metadata.get("general.architecture")) != "llama":
        return f"the architecture is {architecture}"
    others = {t.type for t in gguf.tensors if t.type != ("F32" if len(t.shape) == 1 else "Q8_0")}
    if others:
        return f"there are weights of type {', '.join(sorted(others))}"
    sizes = _sizes(metadata)
    if not all(sizes.values()):
        return "the sizes are not one number each"
    if any(size % BLOCK for size in (sizes["width"], sizes["hidden"], sizes["dimension"])):
        return "the sizes are not multiples of 32"
    if _whole(metadata, "llama.rope.dimension_count") != sizes["dimension"]:
        return "only a part of a head is rotated"
    expected = {(name, True) for name in _NORMS} | {(name, False) for name in (*_MATRICES, *_EMBEDDINGS)}
    if others := {t.name for t in gguf.tensors if (_place(t)[0], len(t.shape) == 1) not in expected}:
        return f"there are tensors {', '.join(sorted(others))}"
    if metadata.get("llama.rope.scaling.type", "none") != "none" or "llama.expert_count" in metadata:
        return "positions are scaled, or there are experts"
    return None


class NativeBackend:
    """One model file and its cache of keys and values (F32). Implements `backends.base.Backend`.

    Attention reads the cells of a token's own path, so texts stay in the cache side by side: it is a tree of
    tokens, of which the least recently used ends make room (`kernels/native/cells.h`).
    """

    def __init__(
        self,
        path: Path,
        gguf: Gguf,
        *,
        context_length: int,
        threads: int | None = None,
        kv_bytes: int | None = None,
    ) -> None:
        """Loads the model (a tenth of a second). `why_not(gguf)` must be None.

        `context_length` bounds a path. Keys and values that stay in the cache take `kv_bytes` at most, or
        what the path that is scored needs; None: as much as the longest path.
        Raises ModelCorrupt for tensors that are missing or of the wrong size.
        """
        sizes = _sizes(gguf.metadata)
        self.context_length = min(context_length, _whole(gguf.metadata, "llama.context_length"))
        self._cells = self.context_length + TREE_CELLS
        cell_bytes = 2 * 4 * sizes["layers"] * sizes["kv_heads"] * sizes["dimension"]
        kept = self._cells if kv_bytes is None else kv_bytes // cell_bytes
        self._model = import_module("engine_kernels._transformer").Transformer(
            **sizes,
            epsilon=float(gguf.metadata["llama.attention.layer_norm_rms_epsilon"]),
            rope_base=float(gguf.metadata.get("llama.rope.freq_base", 10_000.0)),
            cells=max(self._cells, kept),
            kept=kept,
            largest_batch=PREFILL_CHUNK,
            threads=threads or min(os.cpu_count() or 1, MOST_THREADS),
        )
        _load(self._model, path, gguf, sizes["layers"])
        self.vocab_size = sizes["vocab"]
        self._chunk = ChunkSize(PREFILL_CHUNK)
        self.evaluations = 0
        self.tokens_evaluated = 0

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`. A row is the same bit for bit however it is asked for."""
        if len(context) + len(tree) > self.context_length:
            self._check_room(len(context), tree)
        left = self._model.begin(context, tree.tokens, tree.parents, wanted)
        rows: list[FloatArray] = []
        while left:
            stop.check()
            tokens = min(left, self._chunk.tokens)
            rows += self._evaluate(tokens, stop)
            left -= tokens
        if len(wanted) == 1:
            return rows
        return list(map(dict(zip(sorted(set(wanted)), rows, strict=True)).__getitem__, wanted))

    def _check_room(self, context_tokens: int, tree: TokenTree) -> None:
        if context_tokens + tree.depth > self.context_length:
            raise BackendError(
                f"the prompt needs {context_tokens + tree.depth} tokens,"
                f" the context holds {self.context_length}"
            )
        if context_tokens + len(tree) > self._cells:
            raise BackendError(f"the context of {self.context_length} tokens is full; choose a larger one")

    def _evaluate(self, tokens: int, stop: StopSignal) -> list[FloatArray]:
        """One model call; rows of the wanted nodes in it, in their order."""
        try:
            rows: list[FloatArray] | None = self._model.evaluate(tokens, np.frombuffer(stop.flag, np.uint8))
        except ValueError as error:
            raise BackendError(
                f"the model computed no distribution ({error}); pull it again or take another weight type"
            ) from None
        if rows is None:
            self._chunk.aborted()
            raise Cancelled("the request was cancelled")
        self._chunk.evaluated(tokens)
        self.evaluations += 1
        self.tokens_evaluated += tokens
        return rows

    def close(self) -> None:
        """See `Backend.close`."""
        self._model = None


def _whole(metadata: dict[str, Any], key: str) -> int:
    value = metadata.get(key)
    return value if isinstance(value, int) else 0


def _sizes(metadata: dict[str, Any]) -> dict[str, int]:
    width = _whole(metadata, "llama.embedding_length")
    heads = _whole(metadata, "llama.attention.head_count")
    return {
        "layers": _whole(metadata, "llama.block_count"),
        "width": width,
        "heads": heads,
        "kv_heads": _whole(metadata, "llama.attention.head_count_kv") or heads,
        "dimension": _whole(metadata, "llama.attention.key_length") or width // max(1, heads),
        "hidden": _whole(metadata, "llama.feed_forward_length"),
        "vocab": len(metadata["tokenizer.ggml.tokens"]),
    }


def _load(model: Any, path: Path, gguf: Gguf, layers: int) -> None:
    """Gives every tensor of the file to the model."""
    wanted = {(name, layer) for name in (*_NORMS[:2], *_MATRICES) for layer in range(layers)}
    wanted |= {("output_norm", 0), ("token_embd", 0)}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for tensor in gguf.tensors:
            name, layer, is_norm = _place(tensor)
            start = gguf.weights_start + tensor.offset_bytes
            numbers = np.frombuffer(view, np.uint8, tensor.size_bytes, start)
            try:
                if is_norm:
                    model.set_norm(layer, name, numbers.view(np.float32))
                else:
                    model.set_matrix(layer, name, numbers)
            except (ValueError, IndexError) as error:
                raise ModelCorrupt(f"{path}: {tensor.name} cannot be used ({error})") from None
            finally:
                del numbers
            wanted.discard((name, layer))
            _release(view, start, tensor.size_bytes)
    if wanted:
        raise ModelCorrupt(f"{path} has no {', '.join(sorted({name for name, _ in wanted}))}")


def _release(view: mmap.mmap, start: int, size: int) -> None:
    """Gives the whole pages of a part of a mapped file back; reading them again would be right but slow."""
    first, end = -(-start // mmap.PAGESIZE), (start + size) // mmap.PAGESIZE
    if end > first and hasattr(mmap, "MADV_DONTNEED"):
        view.madvise(mmap.MADV_DONTNEED, first * mmap.PAGESIZE, (end - first) * mmap.PAGESIZE)


def _place(tensor: TensorInfo) -> tuple[str, int, bool]:
    """A tensor's name without its layer, its layer (0 if it has none), and whether it is a norm's weights."""
    parts = tensor.name.split(".")
    layer, name = (int(parts[1]), parts[2]) if parts[0] == "blk" and len(parts) > 2 else (0, parts[0])
    return name, layer, len(tensor.shape) == 1
