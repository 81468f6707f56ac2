"""Byte pair encoding of one word: the merge of least rank, leftmost first, until none applies."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import pairwise

Lookup = Callable[[int, int], tuple[int, int] | None]
"""(left token, right token) → (rank, merged token), None if the two do not merge."""


def encode_symbols(start: Sequence[int], lookup: Lookup) -> list[int]:
    """BPE of the tokens `start`. O(n log n) lookups for n symbols."""
    symbols = list(start)
    following = [*range(1, len(symbols)), -1]
    preceding = list(range(-1, len(symbols) - 1))
    heap = [
        (merge[0], place, merge[1], pair)
        for place, pair in enumerate(pairwise(symbols))
        if (merge := lookup(*pair)) is not None
    ]
    heapq.heapify(heap)
    alive = [True] * len(symbols)
    while heap:
        _, left, merged, pair = heapq.heappop(heap)
        right = following[left]
        if not alive[left] or right < 0 or (symbols[left], symbols[right]) != pair:
            continue
        symbols[left], alive[right] = merged, False
        following[left] = following[right]
        if following[right] >= 0:
            preceding[following[right]] = left
        for place in (preceding[left], left):
            if place >= 0 and following[place] >= 0:
                neighbours = (symbols[place], symbols[following[place]])
                if (merge := lookup(*neighbours)) is not None:
                    heapq.heappush(heap, (merge[0], place, merge[1], neighbours))
    return [symbol for symbol, kept in zip(symbols, alive, strict=True) if kept]
