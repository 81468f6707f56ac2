"""A Llama's forward pass with its cache of keys and values. Definition: `transformer_reference`.

The cache is a tree of tokens, a cell for each: texts share the cells of their common beginning. Matrices are
the bytes of Q8_0 as GGUF has them, row after row. ValueError for sizes and numbers that do not fit.
"""

from collections.abc import Sequence
from typing import Any

from engine_kernels.numpy_reference import FloatArray

def is_supported() -> bool:
    """Whether this processor can run it."""

class Transformer:
    def __init__(
        self,
        *,
        layers: int,
        width: int,
        heads: int,
        kv_heads: int,
        dimension: int,
        hidden: int,
        vocab: int,
        epsilon: float,
        rope_base: float,
        cells: int,
        kept: int,
        largest_batch: int,
        threads: int,
    ) -> None:
        """`width`, `hidden` and `dimension` (of a head) must be multiples of 32.

        Of the `cells` at most `kept` stay in use when others are needed. The memory of a cell that was never
        used is not touched.
        """
    def set_norm(self, layer: int, name: str, weights: Any) -> None:
        """(width,) float32; `name` is attn_norm, ffn_norm or output_norm."""
    def set_matrix(self, layer: int, name: str, bytes: Any) -> None:
        """(size,) uint8; `name` is GGUF's, without the layer. Without `output`, `token_embd` is taken."""
    @property
    def used_cells(self) -> int: ...
    def begin(
        self, context: Sequence[int], tokens: Sequence[int], parents: Sequence[int], wanted: Sequence[int]
    ) -> int:
        """Plans to evaluate a tree behind a context; node k's parent is below k, -1: the context's end.

        The rows of the `wanted` nodes are asked for, -1: of the context's end. Returns how many tokens are
        to be evaluated: those that are not in the cache, and the wanted ones. The least recently used ends
        of other texts make room; ValueError if context and tree do not fit into the cache.
        """
    def evaluate(self, most: int, flag: Any) -> list[FloatArray] | None:
        """Evaluates the next `most` tokens of the plan, `largest_batch` at most.

        Returns (vocab,) natural log-probabilities for each of the wanted nodes among them, by increasing
        number; the same bits as `log_softmax` of its logits. ValueError if logits are no distribution.

        Once the first byte of `flag` (uint8) is set the call ends early and returns None; what it was to
        evaluate is not in the cache then, and the rest of the plan is given up.
        """
