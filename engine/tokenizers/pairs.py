"""May these two tokens stand side by side in one word? The inverse question to BPE.

Definitions. A merge (left, right) → token has a rank; BPE applies the merge of least rank, leftmost first.
A token is *reachable* if BPE of its own bytes is that token; its *derivation* is the merge that forms it
last then. Symbols from which BPE starts are reachable and have rank −1.

Claim (derivations). Only derivations are ever applied, whatever stands around a token.
Proof. Let a merge form t from (c, d) somewhere. No earlier merge has crossed the ends of that span, so the
span has gone through the same steps as t's bytes alone; the last of them is t's derivation.

Claim (pairs). Let each derivation's rank exceed those of its parts (*proper*: true of every trained BPE,
checked at load). A sequence is what BPE makes of its bytes iff each adjacent pair is, and (a, b) is not
iff there are r in a's right chain {a, right(a), right(right(a)), …} and s in b's left chain whose pair is
a derivation of rank m, with
    m < rank of r's parent in that chain (if r is not a)  and  m ≤ rank of s's parent (if s is not b).
Proof. Until a merge crosses the boundary both sides evolve as they would alone; r is the last symbol of
the left side exactly while m lies between the ranks of r and of its parent, s likewise; equal ranks are
applied leftmost first, hence < on the left and ≤ on the right. Inside a and b nothing can differ. (See
also github/rust-gems, crates/bpe, for tiktoken's rank order.)

So for a fixed left token the failing right tokens are, for each crossing derivation (r, s), s itself and
the subtrees of those children of s, in the forest "parent = left part", whose rank is at least m. With
children in order of rank such subtrees are one interval of the forest's preorder.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from engine.vocab import BoolArray, IntArray, Vocab

_SYMBOL_RANK = -1
_NEVER = np.iinfo(np.int64).max


class PairTable:
    """Which tokens may follow which inside one word, for one vocabulary."""

    def __init__(self, vocab: Vocab, symbols: IntArray, candidates: IntArray, ranks: IntArray) -> None:
        """Derives every token.

        `symbols` are the tokens BPE starts from; `candidates` (n, 3) are all merges (left, right,
        merged) and `ranks` (n,) their ranks. Merges that are not derivations may be among them.
        """
        self._vocab = vocab
        size = len(vocab)
        self._left = np.full(size, -1, dtype=np.int64)
        self._right = np.full(size, -1, dtype=np.int64)
        self._rank = np.full(size, _SYMBOL_RANK, dtype=np.int64)
        self._merge_rank: dict[int, int] = {}
        self.reachable: BoolArray = np.zeros(size, dtype=bool)
        self.reachable[symbols] = True
        self._derive(candidates, ranks)
        self._number_forest()
        self.successors = lru_cache(maxsize=512)(self._successors)
        self.is_canonical = lru_cache(maxsize=1 << 14)(self._is_canonical)

    # -- derivations ------------------------------------------------------------------------------

    def _derive(self, candidates: IntArray, ranks: IntArray) -> None:
        """Finds each token's derivation, shorter tokens first: those of its parts are known by then."""
        lengths = np.array([len(b) for b in self._vocab.token_bytes], dtype=np.int64)[candidates[:, 2]]
        order = np.lexsort((ranks, lengths))
        for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            left, right, merged = candidates[group].T
            rank = ranks[group]
            sound = self.reachable[left] & self.reachable[right] & ~self.reachable[merged]
            sound &= np.maximum(self._rank[left], self._rank[right]) < rank
            left, right, merged, rank = left[sound], right[sound], merged[sound], rank[sound]
            kept = ~self._crossed(left, right, rank)
            left, right, merged, rank = left[kept], right[kept], merged[kept], rank[kept]
            self._left[merged], self._right[merged], self._rank[merged] = left, right, rank
            self.reachable[merged] = True
            keys = (left * len(self._vocab) + right).tolist()
            self._merge_rank.update(zip(keys, rank.tolist(), strict=True))

    def _crossed(self, left: IntArray, right: IntArray, limit: IntArray) -> BoolArray:
        """Whether a derivation of rank below `limit` crosses each boundary left|right (all (n,)).

        Walks back in time from the finished tokens, undoing the younger of the two derivations.
        """
        left, right, limit = left.copy(), right.copy(), limit.copy()
        crossed = np.zeros(len(left), dtype=bool)
        active = np.arange(len(left))
        while len(active):
            a, b = left[active], right[active]
            keys = (a * len(self._vocab) + b).tolist()
            merge_rank = np.array([self._merge_rank.get(key, _NEVER) for key in keys], dtype=np.int64)
            crossed[active] |= merge_rank < limit[active]
            rank_a, rank_b = self._rank[a], self._rank[b]
            undo_left = rank_a > rank_b
            limit[active] = np.where(undo_left, rank_a, rank_b + 1)
            left[active] = np.where(undo_left, self._right[a], a)
            right[active] = np.where(undo_left, b, self._left[b])
            active = active[~crossed[active] & (np.maximum(rank_a, rank_b) > _SYMBOL_RANK)]
        return crossed

    def _is_canonical(self, left: int, right: int) -> bool:
        """Whether no merge crosses the boundary of two reachable tokens that stand in one word."""
        return not self._crossed(np.array([left]), np.array([right]), np.array([_NEVER]))[0]

    # -- successors of one token ------------------------------------------------------------------

    def _number_forest(self) -> None:
        """Preorder number and subtree end of each token in the forest "parent = left part"."""
        size = len(self._vocab)
        by_rank = np.argsort(self._rank, kind="stable").tolist()
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
        self._row_preorder = self._preorder[self._vocab.order]
        self._children = np.flatnonzero(self._left >= 0)
        self._children = self._children[np.lexsort((self._rank[self._children], self._left[self._children]))]
        self._radix = int(self._rank.max()) + 2
        self._child_key = self._left[self._children] * self._radix + self._rank[self._children]

    def _children_of(self, parent: IntArray | int, rank: IntArray | int) -> IntArray:
        """Index in `_children` of each parent's first child with at least the given rank."""
        return np.asarray(np.searchsorted(self._child_key, parent * self._radix + rank))

    def _successors(self, left: int) -> BoolArray:
        """(rows,) in sorted vocabulary order: the reachable tokens that may follow `left` in one word."""
        boundary = np.zeros(len(self._vocab) + 1, dtype=np.int64)
        limit, part = self._radix, left
        while part >= 0:
            self._forbid(boundary, part, limit)
            limit, part = int(self._rank[part]), int(self._right[part])
        allowed: BoolArray = (np.cumsum(boundary)[:-1] == 0)[self._row_preorder]
        return allowed

    def _forbid(self, boundary: IntArray, part: int, limit: int) -> None:
        """Adds to the difference array `boundary` what derivations (part, s) below `limit` forbid."""
        low, high = int(self._children_of(part, 0)), int(self._children_of(part, limit))
        crossing = self._children[low:high]
        ranks, parts = self._rank[crossing], self._right[crossing]
        np.add.at(boundary, self._preorder[parts], 1)
        np.add.at(boundary, self._preorder[parts] + 1, -1)
        first = self._children_of(parts, ranks)
        inside = first < self._children_of(parts, np.full(len(parts), self._radix))
        np.add.at(boundary, self._preorder[self._children[first[inside]]], 1)
        np.add.at(boundary, self._subtree_end[parts[inside]], -1)
