"""A forward pass of our own, for Llamas and Qwen2s of 8-bit weights on processors with AVX2.

For batches of a few rows and for prompts it is about twice as fast as llama.cpp, and a row is the same bit
for bit whatever else is in the batch (docs/decisions/0016-a-forward-pass-of-our-own.md). Everything else is
left to `backends.llama_cpp`; `native_weights.why_not` says what.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.backends.base import StopSignal
from engine.backends.chunks import SMALLEST_CHUNK, ChunkSize
from engine.backends.native_weights import PREFILL_CHUNK, Loading
from engine.drafts.nearest import Places
from engine.errors import BackendError, Cancelled
from engine.tree import TokenPath, TokenTree
from engine.vocab import FloatArray


class NativeBackend:
    """One model file and its cache of keys and values (16 bits). Implements `backends.base.Backend`.

    Attention reads the cells of a token's own path, so texts stay in the cache side by side: it is a tree of
    tokens, of which the least recently used ends make room (`kernels/native/cells.h`).
    """

    def __init__(self, loading: Loading) -> None:
        """Waits for the weights. Raises ModelCorrupt for tensors that are missing or of the wrong size."""
        self._model = loading.transformer()
        self.context_length, self._cells = loading.context_length, loading.cells
        self.vocab_size = loading.sizes["vocab"]
        self._chunk = ChunkSize(PREFILL_CHUNK)
        self.evaluations = 0
        self.tokens_evaluated = 0

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`. A row is the same bit for bit however it is asked for."""
        nodes, parents = tree.tokens, tree.parents
        if len(context) + len(nodes) > self.context_length:
            self._check_room(len(context), tree)
        left = self._model.begin(context, nodes, parents, wanted)
        if left < SMALLEST_CHUNK and len(wanted) == 1:  # as behind most tokens: nothing to divide or to order
            stop.check()
            return self._evaluate(left, stop)
        rows: list[FloatArray] = []
        while left:
            stop.check()
            tokens = min(left, self._chunk.tokens)
            rows += self._evaluate(tokens, stop)
            left -= tokens
        if len(wanted) == 1:
            return rows
        return list(map(dict(zip(sorted(set(wanted)), rows, strict=True)).__getitem__, wanted))

    def alike(self, path: TokenPath) -> Places:
        """See `drafts.nearest.Alike`: known where all of the path but its last token is in the cache."""
        places: Places = self._model.alike(path)
        return places

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
            rows: list[FloatArray] | None = self._model.evaluate(tokens, stop.flag)
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
