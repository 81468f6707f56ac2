"""Byte pair encoding inside one word, and its inverse question: may these two tokens stand side by side?

Definitions. A merge (left, right) → token has a rank; BPE starts from single bytes and always applies
the merge of least rank, leftmost first. The *derivation* of a token is the merge that forms it last
when its own bytes are encoded. A vocabulary is *proper* if each merge's rank exceeds the ranks of the
derivations of its parts (true of every trained BPE; checked at load).

Claim (pairs). In a proper vocabulary a token sequence is what BPE makes of its bytes iff this holds for
each adjacent pair, and the pair (a, b) fails iff there are r in a's right chain {a, right(a),
right(right(a)), …} and s in b's left chain with a merge (r, s) of rank m such that
    m < rank of r's parent in that chain (if r is not a)  and  m ≤ rank of s's parent (if s is not b).
Proof. Until a merge crosses the boundary both sides evolve as they would alone; r is the last symbol of
the left side exactly while m lies between the ranks of r and of its parent, s likewise; equal ranks are
applied leftmost first, hence < on the left and ≤ on the right. Inside a and b nothing can differ, as BPE
applied alone yields a and b. (See also github/rust-gems, crates/bpe, for tiktoken's rank order.)

So for a fixed left token the failing right tokens are, for each crossing merge (r, s), s itself and the
subtrees of those children of s, in the forest "parent = left part", whose rank is at least m. With
children in order of rank such subtrees are one interval of the forest's preorder.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from engine.errors import ModelUnsupported
from engine.vocab import BoolArray, IntArray, Vocab

Merge = tuple[int, int, int]
"""(left, right, merged) token ids."""

_BYTE_RANK = -1


class Merges:
    """The merges of one vocabulary in order of rank."""

    def __init__(self, vocab: Vocab, merges: Sequence[Merge]) -> None:
        """Raises ModelUnsupported if the vocabulary is not proper (pairs would not be exact)."""
        self.vocab = vocab
        self._merges = merges
        self._rank = {(left, right): rank for rank, (left, right, _) in enumerate(merges)}
        self._byte_tokens = _byte_tokens(vocab)
        self._encode = lru_cache(maxsize=1 << 16)(self._encode_word)
        self._derive()
        self._number_forest()
        self.successors = lru_cache(maxsize=512)(self._successors)

    # -- encoding ---------------------------------------------------------------------------------

    def missing_bytes(self) -> frozenset[int]:
        """Byte values that the vocabulary cannot express."""
        return frozenset(set(range(256)) - self._byte_tokens.keys())

    def encode_word(self, word: bytes) -> tuple[int, ...]:
        """BPE of one word. Raises KeyError for a byte that the vocabulary cannot express."""
        return self._encode(word) if len(word) <= 64 else self._encode_word(word)

    def _encode_word(self, word: bytes) -> tuple[int, ...]:
        symbols = [self._byte_tokens[byte] for byte in word]
        return tuple(_merge_least_first(symbols, self._rank, self._merges))

    # -- pairs ------------------------------------------------------------------------------------

    def _derive(self) -> None:
        """Sets left, right, rank of each token's derivation (rank −1 for single bytes) and `reachable`."""
        size = len(self.vocab)
        self._left = np.full(size, -1, dtype=np.int64)
        self._right = np.full(size, -1, dtype=np.int64)
        self._token_rank = np.full(size, _BYTE_RANK, dtype=np.int64)
        self.reachable: BoolArray = np.zeros(size, dtype=bool)
        self.reachable[list(self._byte_tokens.values())] = True
        rank, reachable = self._token_rank, self.reachable
        parts = np.array(self._merges, dtype=np.int64).reshape(-1, 3)
        order = np.lexsort((np.arange(len(parts)), parts[:, 2]))
        self._left_sorted_setup(parts)
        duplicated = np.bincount(parts[:, 2], minlength=size) > 1
        for index in order:
            left, right, merged = parts[index]
            if not duplicated[merged]:
                self._left[merged], self._right[merged], rank[merged] = left, right, index
        for token in np.flatnonzero(duplicated):
            self._derive_by_encoding(int(token))
        self._check_proper(parts)
        self._mark_reachable(parts, duplicated, reachable)

    def _left_sorted_setup(self, parts: IntArray) -> None:
        """Merges grouped by left part, each group in order of rank."""
        self._by_left = np.lexsort((np.arange(len(parts)), parts[:, 0]))
        self._group_left = parts[self._by_left, 0]
        self._group_right = parts[self._by_left, 1]

    def _derive_by_encoding(self, token: int) -> None:
        """The derivation of a token that several merges form: the one BPE uses last on its bytes."""
        word = self.vocab.token_bytes[token]
        steps: list[int] = []
        symbols = [self._byte_tokens[byte] for byte in word if byte in self._byte_tokens]
        if list(_merge_least_first(symbols, self._rank, self._merges, steps)) == [token] and steps:
            last = steps[-1]
            self._left[token], self._right[token], _ = self._merges[last]
            self._token_rank[token] = last

    def _check_proper(self, parts: IntArray) -> None:
        part_rank = np.maximum(self._token_rank[parts[:, 0]], self._token_rank[parts[:, 1]])
        if len(parts) and not np.all(part_rank < np.arange(len(parts))):
            raise ModelUnsupported(
                "the merges of this vocabulary are not in the order in which their parts are formed,"
                " so its canonical pairs are not known exactly"
            )

    def _mark_reachable(self, parts: IntArray, duplicated: BoolArray, reachable: BoolArray) -> None:
        """reachable[t]: BPE of t's own bytes is t. In rank order, so that parts are decided first."""
        reachable |= duplicated & (self._token_rank >= 0)
        merged = np.flatnonzero(self._left >= 0)
        crossed = self._crossing(self._left[merged], self._right[merged], self._token_rank[merged])
        sound = np.zeros(len(reachable), dtype=bool)
        sound[merged] = ~crossed
        for token in merged[np.argsort(self._token_rank[merged], kind="stable")]:
            reachable[token] = sound[token] and reachable[self._left[token]] and reachable[self._right[token]]

    def _crossing(self, left: IntArray, right: IntArray, limit: IntArray) -> BoolArray:
        """Whether a merge of rank below `limit` crosses each boundary left|right (all arrays (n,))."""
        left, right, limit = left.copy(), right.copy(), limit.copy()
        crossed = np.zeros(len(left), dtype=bool)
        active = np.arange(len(left))
        while len(active):
            a, b = left[active], right[active]
            crossed[active] |= self._pair_ranks(a, b) < limit[active]
            rank_a, rank_b = self._token_rank[a], self._token_rank[b]
            undo_left = rank_a > rank_b
            limit[active] = np.where(undo_left, rank_a, rank_b + 1)
            left[active] = np.where(undo_left, self._right[a], a)
            right[active] = np.where(undo_left, b, self._left[b])
            active = active[~crossed[active] & (np.maximum(rank_a, rank_b) > _BYTE_RANK)]
        return crossed

    def _pair_ranks(self, left: IntArray, right: IntArray) -> IntArray:
        """(n,) rank of the merge of each pair, a huge number where there is none."""
        never = np.iinfo(np.int64).max
        pairs = zip(left.tolist(), right.tolist(), strict=True)
        return np.array([self._rank.get(pair, never) for pair in pairs], dtype=np.int64)

    def pair_is_canonical(self, left: int, right: int) -> bool:
        """Whether no merge crosses the boundary of two tokens that stand in one word."""
        never = np.iinfo(np.int64).max
        return not self._crossing(np.array([left]), np.array([right]), np.array([never]))[0]

    def _number_forest(self) -> None:
        """Preorder number and subtree end of each token in the forest "parent = left part"."""
        size = len(self.vocab)
        by_rank = np.argsort(self._token_rank, kind="stable").tolist()
        left = self._left.tolist()
        weight = [1] * size
        for token in reversed(by_rank):
            if left[token] >= 0:
                weight[left[token]] += weight[token]
        start, cursor, next_root = [0] * size, [0] * size, 0
        for token in by_rank:
            parent = left[token]
            if parent >= 0:
                start[token] = cursor[parent]
                cursor[parent] += weight[token]
            else:
                start[token] = next_root
                next_root += weight[token]
            cursor[token] = start[token] + 1
        self._preorder = np.array(start, dtype=np.int64)
        self._subtree_end = self._preorder + np.array(weight, dtype=np.int64)
        self._row_preorder = self._preorder[self.vocab.order]
        children = np.flatnonzero(self._left >= 0)
        order = np.lexsort((self._token_rank[children], self._left[children]))
        self._child_key = (self._left[children] * len(self._merges) + self._token_rank[children])[order]
        self._child_start = self._preorder[children][order]

    def _successors(self, left: int) -> BoolArray:
        """(rows,) in sorted vocabulary order: the tokens that may follow `left` in the same word."""
        boundary = np.zeros(len(self.vocab) + 1, dtype=np.int64)
        limit, right_part = len(self._merges), left
        while right_part >= 0:
            self._forbid(boundary, right_part, limit)
            limit, right_part = self._token_rank[right_part], self._right[right_part]
        allowed: BoolArray = (np.cumsum(boundary)[:-1] == 0)[self._row_preorder]
        return allowed

    def _forbid(self, boundary: IntArray, right_part: int, limit: int) -> None:
        """Adds to the difference array `boundary` the intervals that merges (right_part, s) forbid."""
        low, high = np.searchsorted(self._group_left, [right_part, right_part + 1])
        ranks = self._by_left[low:high]
        stop = low + int(np.searchsorted(ranks, limit))
        ranks, parts = self._by_left[low:stop], self._group_right[low:stop]
        np.add.at(boundary, self._preorder[parts], 1)
        np.add.at(boundary, self._preorder[parts] + 1, -1)
        first_child = np.searchsorted(self._child_key, parts * len(self._merges) + ranks)
        inside = first_child < np.searchsorted(self._child_key, (parts + 1) * len(self._merges))
        np.add.at(boundary, self._child_start[first_child[inside]], 1)
        np.add.at(boundary, self._subtree_end[parts[inside]], -1)


def _byte_tokens(vocab: Vocab) -> dict[int, int]:
    """Byte value → the token of that single byte."""
    return {
        vocab.sorted_bytes[row][0]: int(vocab.order[row])
        for row in reversed(range(vocab.rows))
        if vocab.lengths[row] == 1
    }


def _merge_least_first(
    symbols: list[int],
    rank: dict[tuple[int, int], int],
    merges: Sequence[Merge],
    steps: list[int] | None = None,
) -> list[int]:
    """Applies merges of least rank, leftmost first, until none applies; `steps` receives their ranks."""
    following = [*range(1, len(symbols)), -1]
    preceding = list(range(-1, len(symbols) - 1))
    heap = [(rank[p], i) for i, p in enumerate(zip(symbols, symbols[1:], strict=False)) if p in rank]
    heapq.heapify(heap)
    alive = [True] * len(symbols)
    while heap:
        least, i = heapq.heappop(heap)
        j = following[i]
        if not alive[i] or j < 0 or rank.get((symbols[i], symbols[j])) != least:
            continue
        symbols[i], alive[j] = merges[least][2], False
        following[i] = following[j]
        if following[j] >= 0:
            preceding[following[j]] = i
        if steps is not None:
            steps.append(least)
        for start in (preceding[i], i):
            if start >= 0 and following[start] >= 0:
                pair = (symbols[start], symbols[following[start]])
                if pair in rank:
                    heapq.heappush(heap, (rank[pair], start))
    return [symbol for symbol, kept in zip(symbols, alive, strict=True) if kept]
