from collections.abc import Sequence
from typing import Any

from engine_kernels.numpy_reference import FloatArray
from engine_kernels.numpy_reference import allowed_rows as allowed_rows
from engine_kernels.numpy_reference import choose_tokens as choose_tokens
from engine_kernels.numpy_reference import likeliest as likeliest
from engine_kernels.numpy_reference import log_softmax as log_softmax
from engine_kernels.numpy_reference import merge_symbols as merge_symbols
from engine_kernels.numpy_reference import pair_mask as pair_mask
from engine_kernels.numpy_reference import sorted_weights as sorted_weights
from engine_kernels.numpy_reference import successor_mask as successor_mask
from engine_kernels.numpy_reference import sums_by_byte as sums_by_byte
from engine_kernels.numpy_reference import sums_of_groups as sums_of_groups
from engine_kernels.numpy_reference import two_greatest as two_greatest

class Transformer:
    """The forward pass of a Llama or a Qwen2 with its cache of keys and values. Definition:
    `transformer_reference`.

    Only there where it was compiled for x86-64. The cache is a tree of tokens, a cell for each: texts share
    the cells of their common beginning. Matrices are the bytes of Q8_0 as GGUF has them, row after row.
    ValueError for sizes and numbers that do not fit.
    """

    @staticmethod
    def instructions() -> list[str]:
        """The sets of instructions it can use on this processor, the best first; none: it cannot run.

        Of "avx512_vnni" and "avx2". Rows are the same bit for bit.
        """
    @staticmethod
    def cell_bytes(*, layers: int, kv_heads: int, dimension: int) -> int:
        """Bytes of a token's keys and values: 16-bit integers, and a float32 scale for each head's."""
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
        rotates_halves: bool,
        cells: int,
        kept: int,
        largest_batch: int,
        threads: int,
        instructions: str,
    ) -> None:
        """`width`, `hidden` and `dimension` (of a head) must be multiples of 32.

        Positions rotate pairs of neighbours in a head or, if it `rotates_halves`, one number of either half.
        Of the `cells` at most `kept` stay in use when others are needed. The memory of a cell that was never
        used is not touched. `instructions` is one of `Transformer.instructions()`.
        """
    def set_vector(self, layer: int, name: str, numbers: Any) -> None:
        """(size,) float32; `name` is attn_norm, ffn_norm or output_norm, or attn_q.bias, attn_k.bias or
        attn_v.bias, which a model may lack."""
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
        number; the same bits as `log_softmax` of its logits. They are read-only. ValueError if logits are no
        distribution.

        Once the first byte of `flag` (uint8) is set the call ends early and returns None; what it was to
        evaluate is not in the cache then, and the rest of the plan is given up.
        """
    def alike(self, path: Sequence[int]) -> list[tuple[int, float]]:
        """The earlier places of a path's last token, and how alike what stands before is to the model.

        How alike: the cosine of the values, in the layer at two thirds of the depth, of the tokens before
        both. Places by increasing index, from 1 on. None unless all of the path but its last token is in the
        cache, and none while a plan is not carried out.
        """
