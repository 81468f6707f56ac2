"""A Llama's forward pass with its cache of keys and values. Definition: `transformer_reference`.

Cells of the cache hold one token each; a *sequence* is a path of cells, by number. Matrices are the bytes
of Q8_0 as GGUF has them, row after row. ValueError for sizes that do not fit and tokens that do not
continue their sequence.
"""

from typing import Any

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
        sequences: int,
        largest_batch: int,
        threads: int,
    ) -> None:
        """`width`, `hidden` and `dimension` (of a head) must be multiples of 32."""
    def set_norm(self, layer: int, name: str, weights: Any) -> None:
        """(width,) float32; `name` is attn_norm, ffn_norm or output_norm."""
    def set_matrix(self, layer: int, name: str, bytes: Any) -> None:
        """(size,) uint8; `name` is GGUF's, without the layer. Without `output`, `token_embd` is taken."""
    @property
    def free_cells(self) -> int: ...
    def remove(self, sequence: int, start: int) -> None:
        """Cuts a sequence to `start` tokens."""
    def share(self, source: int, target: int, length: int) -> None:
        """Gives an empty sequence the first `length` cells of another."""
    def state_floats(self, sequence: int) -> int: ...
    def save(self, sequence: int, state: Any) -> None:
        """Writes keys and values of a sequence to (state_floats,) float32."""
    def restore(self, sequence: int, state: Any) -> bool:
        """Fills an empty sequence with what `save` wrote; False if there are not enough free cells."""
    def evaluate(
        self, tokens: Any, positions: Any, starts: Any, sequences: Any, asked: Any, flag: Any
    ) -> Any:
        """Appends token i to `sequences[starts[i]:starts[i + 1]]`, all of length `positions[i]`.

        All are int32 but `flag`, uint8: once its first byte is set the call ends early and returns None; the
        tokens then are in their sequences, with keys and values that mean nothing. Else (asked, vocab)
        float32 logits, valid until the next call.
        """
