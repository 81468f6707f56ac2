"""May these two tokens stand side by side in one word? The inverse question to BPE.

Definitions. A merge (left, right) → token has a rank; BPE applies the merge of least rank, leftmost first.
A token is *reachable* if BPE of its own bytes is that token; its *derivation* is the merge that forms it
last then. Symbols from which BPE starts are reachable and have rank −1.

Claim (derivations). Only derivations are ever applied, whatever stands around a token.
Proof. Let a merge form t from (c, d) somewhere. No earlier merge has crossed the ends of that span, so the
span has gone through the same steps as t's bytes alone; the last of them is t's derivation.

The *time* of a token is its derivation's rank, or just after its parts' times where that is later (such
*late* tokens are rare: 3 of 262144 in Gemma 3). By the claim it is formed at that time wherever it is.

Claim (pairs). A sequence is what BPE makes of its bytes iff each adjacent pair is, and (a, b) is not
iff there are r in a's right chain {a, right(a), right(right(a)), …} and s in b's left chain whose pair is
a derivation of time m, with
    m < time of r's parent in that chain (if r is not a)  and  m ≤ time of s's parent (if s is not b).
Proof. Until a merge crosses the boundary both sides evolve as they would alone; r is the last symbol of
the left side exactly from its own time to its parent's, s likewise; what has equal rank is applied
leftmost first, hence < on the left and ≤ on the right. Inside a and b nothing can differ. (See
also github/rust-gems, crates/bpe, for tiktoken's rank order.)

So for a fixed left token the failing right tokens are, for each crossing derivation (r, s), s itself and
the subtrees of those children of s, in the forest "parent = left part", whose time is at least m. With
children in order of time such subtrees are one interval of the forest's preorder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from engine.vocab import BoolArray, FloatArray, IntArray, Vocab

_SYMBOL_TIME = -1.0

Merge = tuple[int, int, int]
"""(left, right, merged) token ids."""


class PairTable:
    """Which tokens may follow which inside one word, for one vocabulary."""

    def __init__(
        self,
        vocab: Vocab,
        symbols: IntArray,
        candidates: IntArray,
        ranks: IntArray,
        trace: Callable[[int], Merge | None],
    ) -> None:
        """Derives every token.

        `symbols` are the tokens BPE starts from; `candidates` (n, 3) are all merges (left, right,
        merged) and `ranks` (n,) their ranks. Merges that are not derivations may be among them.
        `trace` runs BPE on a token's bytes and gives the last merge, None if that does not form it; it
        is asked about tokens without a derivation in the order of ranks.
        """
        self._vocab = vocab
        late: dict[int, Merge] = {}
        while True:
            self._derive(symbols, candidates, ranks, late)
            underived = set(candidates[~self.reachable[candidates[:, 2]], 2].tolist())
            found = {token: merge for token in underived if (merge := trace(token)) is not None}
            if not found:
                break
            late |= found
        self._number_forest()
        self.successors = lru_cache(maxsize=512)(self._successors)
        self.is_canonical = lru_cache(maxsize=1 << 14)(self._is_canonical)

    # -- derivations ------------------------------------------------------------------------------

    def _derive(
        self, symbols: IntArray, candidates: IntArray, ranks: IntArray, late: dict[int, Merge]
    ) -> None:
        """Finds each token's derivation, shorter tokens first: those of its parts are known by then."""
        size = len(self._vocab)
        self._left = np.full(size, -1, dtype=np.int64)
        self._right = np.full(size, -1, dtype=np.int64)
        self._time: FloatArray = np.full(size, _SYMBOL_TIME)
        self._merge_time: dict[int, float] = {}
        self.reachable: BoolArray = np.zeros(size, dtype=bool)
        self.reachable[symbols] = True
        lengths = np.array([len(b) for b in self._vocab.token_bytes], dtype=np.int64)[candidates[:, 2]]
        order = np.lexsort((ranks, lengths))
        for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            left, right, merged = candidates[group].T
            time = ranks[group].astype(np.float64)
            sound = self.reachable[left] & self.reachable[right]
            sound &= np.maximum(self._time[left], self._time[right]) < time
            left, right, merged, time = left[sound], right[sound], merged[sound], time[sound]
            kept = ~self._crossed(left, right, time)
            self._settle(left[kept], right[kept], merged[kept], time[kept])
            for token in set(candidates[group, 2].tolist()) & late.keys():
                parts = np.array(late[token][:2])
                self._settle(
                    parts[:1], parts[1:], np.array([token]), self._time[parts].max(keepdims=True) + 0.5
                )

    def _settle(self, left: IntArray, right: IntArray, merged: IntArray, time: FloatArray) -> None:
        """Records derivations; all arrays (n,)."""
        self._left[merged], self._right[merged], self._time[merged] = left, right, time
        self.reachable[merged] = True
        keys = (left * len(self._vocab) + right).tolist()
        self._merge_time.update(zip(keys, time.tolist(), strict=True))

    def _crossed(self, left: IntArray, right: IntArray, limit: FloatArray) -> BoolArray:
        """Whether a derivation before the time `limit` crosses each boundary left|right (all (n,)).

        Walks back in time from the finished tokens, undoing the younger of the two derivations.
        """
        left, right, limit = left.copy(), right.copy(), limit.copy()
        crossed = np.zeros(len(left), dtype=bool)
        active = np.arange(len(left))
        while len(active):
            a, b = left[active], right[active]
            keys = (a * len(self._vocab) + b).tolist()
            merge_time = np.array([self._merge_time.get(key, np.inf) for key in keys])
            crossed[active] |= merge_time < limit[active]
            time_a, time_b = self._time[a], self._time[b]
            undo_left = time_a > time_b
            limit[active] = np.where(undo_left, time_a, np.nextafter(time_b, np.inf))
            left[active] = np.where(undo_left, self._right[a], a)
            right[active] = np.where(undo_left, b, self._left[b])
            active = active[~crossed[active] & (np.maximum(time_a, time_b) > _SYMBOL_TIME)]
        return crossed

    def _is_canonical(self, left: int, right: int) -> bool:
        """Whether no merge crosses the boundary of two reachable tokens that stand in one word."""
        return not self._crossed(np.array([left]), np.array([right]), np.array([np.inf]))[0]

    # -- successors of one token ------------------------------------------------------------------

    def _number_forest(self) -> None:
        """Preorder number and subtree end of each token in the forest "parent = left part"."""
        size = len(self._vocab)
        by_time = np.argsort(self._time, kind="stable").tolist()
        left = self._left.tolist()
        weight = [1] * size
        for token in reversed(by_time):
            if left[token] >= 0:
                weight[left[token]] += weight[token]
        start, cursor, next_root = [0] * size, [0] * size, 0
        for token in by_time:
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
        self._children = self._children[np.lexsort((self._time[self._children], self._left[self._children]))]
        self._radix = float(np.ceil(self._time.max())) + 2
        self._child_key = self._left[self._children] * self._radix + self._time[self._children]

    def _children_of(self, parent: IntArray | int, time: FloatArray | float) -> IntArray:
        """Index in `_children` of each parent's first child with at least the given time."""
        return np.asarray(np.searchsorted(self._child_key, parent * self._radix + time))

    def _successors(self, left: int) -> BoolArray:
        """(rows,) in sorted vocabulary order: the reachable tokens that may follow `left` in one word."""
        boundary = np.zeros(len(self._vocab) + 1, dtype=np.int64)
        limit, part = self._radix, left
        while part >= 0:
            self._forbid(boundary, part, limit)
            limit, part = float(self._time[part]), int(self._right[part])
        allowed: BoolArray = (np.cumsum(boundary)[:-1] == 0)[self._row_preorder]
        return allowed

    def _forbid(self, boundary: IntArray, part: int, limit: float) -> None:
        """Adds to the difference array `boundary` what derivations (part, s) before `limit` forbid."""
        low, high = int(self._children_of(part, 0)), int(self._children_of(part, limit))
        crossing = self._children[low:high]
        times, parts = self._time[crossing], self._right[crossing]
        np.add.at(boundary, self._preorder[parts], 1)
        np.add.at(boundary, self._preorder[parts] + 1, -1)
        first = self._children_of(parts, times)
        inside = first < self._children_of(parts, np.full(len(parts), self._radix))
        np.add.at(boundary, self._preorder[self._children[first[inside]]], 1)
        np.add.at(boundary, self._subtree_end[parts[inside]], -1)
