"""Byte pair encoding of one word: the merge of least rank, leftmost first, until none applies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.kernels import merge_symbols
from engine.vocab import IntArray

_SHIFT = 32


class MergeTable:
    """All merges of a vocabulary, to be found by their two parts."""

    def __init__(self, merges: IntArray, ranks: IntArray) -> None:
        """`merges` (n, 3) are (left, right, merged) tokens with their `ranks` (n,).

        Of several merges of the same parts the first counts.
        """
        keys, first = np.unique((merges[:, 0] << _SHIFT) + merges[:, 1], return_index=True)
        self._keys: IntArray = keys
        self._ranks = ranks[first].astype(np.int32)
        self._merged = merges[first, 2].astype(np.int32)

    def encode(self, start: Sequence[int]) -> tuple[int, ...]:
        """BPE of the tokens `start`. O(n log n) look-ups for n of them."""
        symbols = np.array(start, dtype=np.int32)
        return tuple(merge_symbols(symbols, self._keys, self._ranks, self._merged).tolist())
