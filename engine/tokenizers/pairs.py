"""May these two tokens stand side by side in one word? The inverse question to BPE.

Definitions. A merge (left, right) → token has a rank; BPE applies the merge of least rank, leftmost first.
A token is *reachable* if BPE of its own bytes is that token; its *derivation* is the merge that forms it
last then, and ρ the rank of that. Symbols from which BPE starts are reachable and have ρ = −1. The *time* τ
of a token is the largest ρ in its derivation tree; ρ = τ unless it is formed *late*, when a part of higher
rank is there at last (3 of 262144 tokens in Gemma 3).

Claim (derivations). Only derivations are ever applied, whatever stands around a token.
Proof. Let a merge form t from (c, d) somewhere. No earlier merge has crossed the ends of that span, so the
span has gone through the same steps as t's bytes alone; the last of them is t's derivation.

Claim (order). While no merge crosses between two spans, a token of the left span is formed before one of
the right span iff its τ is at most that of the other.
Proof. BPE takes the lesser of the two spans' next ranks, the left one if they are equal. So step i of the
left span comes before step j of the right one iff the largest rank up to i is at most the largest up to j.
The largest rank up to the step that forms t is τ(t): until then some step of t's tree is possible in its
span, so no greater rank is taken there.

Claim (pairs). A sequence is what BPE makes of its bytes iff each adjacent pair is, and (a, b) is not iff
there are r in a's right chain {a, right(a), right(right(a)), …} and s in b's left chain whose pair is a
derivation of some t, such that, p = (q, r) being the parent of r in its chain and p' = (s, u) that of s,
    r = a  or  τ(s) < τ(p) and ρ(t) < λ(p),  where λ(p) = max(ρ(p), τ(q)) if τ(q) > τ(r) else ρ(p);
    s = b  or  τ(r) ≤ τ(p') and ρ(t) ≤ λ'(p'),  where λ'(p') = max(ρ(p'), τ(u)) if τ(u) ≥ τ(s) else ρ(p').
Proof. Until a merge crosses the boundary both sides evolve as they would alone. By the claim on order r is
still there when s comes iff τ(s) < τ(p), and s when r comes iff τ(r) ≤ τ(p'). While both are there, (r, s)
waits as long as what comes first has a lesser rank (or an equal one, on the left), so it is applied iff
p still waits for a step of greater rank than ρ(t), and p' for one at least as great. If r comes last, that
is λ(p): p itself, and q's steps if q is not there yet. If s comes last, it is τ(p), as a step of that rank
comes after all of time τ(s); and then λ(p) = τ(p), for otherwise τ(p) = τ(r) ≤ τ(s). Likewise for p'.
Inside a and b nothing can differ. (See also github/rust-gems, crates/bpe, for tiktoken's order of ranks,
in which no token is late.)

So for a fixed left token the failing right tokens are, for each crossing derivation (r, s) → t, s itself and
the subtrees of some children c of s in the forest "parent = left part": those with τ(c) ≥ max(ρ(t), τ(r))
but without the late ones with λ'(c) < ρ(t). With children in order of time the former are one interval of
the forest's preorder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.kernels import NEVER, Forest, SuccessorRule, pair_mask, successor_mask
from engine.tokenizers.masks import MaskCache
from engine.vocab import BoolArray, FloatArray, IntArray, SmallIntArray, Vocab

_SYMBOL_TIME = -1.0

Merge = tuple[int, int, int]
"""(left, right, merged) token ids."""


class PairTable:
    """Which tokens may follow which inside one word, for one vocabulary."""

    def __init__(self, vocab: Vocab, symbols: IntArray, candidates: IntArray, ranks: IntArray) -> None:
        """Derives every token.

        `symbols` are the tokens BPE starts from; `candidates` (n, 3) are all merges (left, right,
        merged) and `ranks` (n,) their ranks. Merges that are not derivations may be among them.
        """
        self._vocab = vocab
        self._lengths: IntArray = np.array([len(b) for b in vocab.token_bytes], dtype=np.int64)
        self._derive(symbols, candidates, ranks)
        self._number_forest()
        self._undecided = np.ones(vocab.rows, dtype=np.int8)
        self.successors = MaskCache(self._successors)

    # -- derivations ------------------------------------------------------------------------------

    def _derive(self, symbols: IntArray, candidates: IntArray, ranks: IntArray) -> None:
        """Finds each token's derivation, shorter tokens first: those of its parts are known by then.

        A merge is one iff its parts are reachable and no other derivation crosses between them.
        """
        size = len(self._vocab)
        self._left = np.full(size, -1, dtype=np.int64)
        self._right = np.full(size, -1, dtype=np.int64)
        self._rank: FloatArray = np.full(size, _SYMBOL_TIME)
        self._time: FloatArray = np.full(size, _SYMBOL_TIME)
        self._wait_left: FloatArray = np.full(size, np.inf)
        self._wait_right: FloatArray = np.full(size, np.inf)
        self._merged: dict[int, int] = {}
        self.reachable: BoolArray = np.zeros(size, dtype=bool)
        self.reachable[np.asarray(symbols, dtype=np.int64)] = True  # none at all are an array of floats
        lengths = self._lengths[candidates[:, 2]]
        order = np.lexsort((-ranks, lengths))
        for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            left, right, merged = candidates[group].T
            kept = self.reachable[left] & self.reachable[right]
            kept[kept] = ~self._crossed(left[kept], right[kept])
            self._settle(left[kept], right[kept], merged[kept], ranks[group][kept].astype(np.float64))

    def _settle(self, left: IntArray, right: IntArray, merged: IntArray, rank: FloatArray) -> None:
        """Records derivations; all arrays (n,). Of equal ones the last counts."""
        time_left, time_right = self._time[left], self._time[right]
        self._left[merged], self._right[merged], self._rank[merged] = left, right, rank
        self._time[merged] = np.maximum(rank, np.maximum(time_left, time_right))
        # λ of `merged` as the parent of its right part, λ' as the parent of its left part.
        self._wait_left[merged] = np.where(time_left > time_right, np.maximum(rank, time_left), rank)
        self._wait_right[merged] = np.where(time_right >= time_left, np.maximum(rank, time_right), rank)
        self.reachable[merged] = True
        keys = (left * len(self._vocab) + right).tolist()
        self._merged.update(zip(keys, merged.tolist(), strict=True))

    def _crossed(self, left: IntArray, right: IntArray) -> BoolArray:
        """Whether a derivation crosses each boundary left|right; all (n,).

        Walks back in time, undoing the younger of the two tokens, through all r and s that are there
        together. Of p and p' the one undone last is the one that would come first, and its λ is the
        least.
        """
        left, right, limit = left.copy(), right.copy(), np.full(len(left), np.inf)
        crossed = np.zeros(len(left), dtype=bool)
        active = np.arange(len(left))
        while len(active):
            a, b = left[active], right[active]
            keys = (a * len(self._vocab) + b).tolist()
            merged = np.array([self._merged.get(key, -1) for key in keys], dtype=np.int64)
            crossed[active] |= (merged >= 0) & (self._rank[merged] < limit[active])
            undo_left = self._time[a] > self._time[b]
            limit[active] = np.where(undo_left, self._wait_left[a], np.nextafter(self._wait_right[b], np.inf))
            left[active] = np.where(undo_left, self._right[a], a)
            right[active] = np.where(undo_left, b, self._left[b])
            symbols = np.maximum(self._time[a], self._time[b]) == _SYMBOL_TIME
            active = active[~crossed[active] & ~symbols]
        return crossed

    # -- successors of one token ------------------------------------------------------------------

    def _number_forest(self) -> None:
        """Preorder number and subtree end of each token in the forest "parent = left part"."""
        size = len(self._vocab)
        by_time = np.lexsort((self._lengths, self._time)).tolist()
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
        preorder = np.array(start, dtype=np.int64)
        row = np.full(size, -1, dtype=np.int64)
        row[preorder[self._vocab.order]] = np.arange(self._vocab.rows)
        children = np.flatnonzero(self._left >= 0)
        children = children[np.lexsort([key[children] for key in (self._lengths, self._time, self._left)])]
        has_late_child = np.zeros(size + 1, dtype=np.bool_)
        has_late_child[self._left[children[self._wait_right[children] < self._time[children]]]] = True
        end, part = preorder + np.array(weight, dtype=np.int64), self._right[children]
        fields = [self._right, self._time, self._wait_left, end]
        right, time, wait, end_or_0 = (np.append(field, 0) for field in fields)
        first_child = np.searchsorted(self._left[children], np.arange(size + 1))
        self.forest = Forest(
            tokens=_integers(right, time, wait, first_child, end_or_0, has_late_child),
            derivations=_integers(
                self._rank[children],
                part,
                self._time[part],
                row[preorder[part]],
                self._time[children],
                self._wait_right[children],
                preorder[children],
                end[children],
                children,
            ),
            rows=row.astype(np.int32),
        )

    def is_canonical(self, left: int, right: int) -> bool:
        """Whether no merge crosses the boundary of two reachable tokens that stand in one word."""
        row, rule = int(self._vocab.row_of[right]), SuccessorRule(self._undecided, left, self.forest)
        return bool(successor_mask(rule, row, row + 1)[0])

    def may_cross_into(self, tokens: Sequence[int] | SmallIntArray) -> BoolArray:
        """(vocab,): the left tokens with which a merge may cross the boundary to one of the `tokens`.

        By the claim on pairs a derivation of something in the right chain with something in the left chain.
        """
        size = len(self._vocab)
        beginning = np.zeros(size, dtype=np.bool_)
        beginning[tokens] = True
        while len(more := self._left[beginning & (self._left >= 0)]) and not beginning[more].all():
            beginning[more] = True
        crossed, derived = np.zeros(size, dtype=np.bool_), np.flatnonzero(self._right >= 0)
        crossed[self._left[derived[beginning[self._right[derived]]]]] = True
        while len(more := derived[crossed[self._right[derived]]]) and not crossed[more].all():
            crossed[more] = True
        return crossed

    def _successors(self, left: int) -> BoolArray:
        """(rows,) in sorted vocabulary order: the reachable tokens that may follow `left` in one word."""
        return pair_mask(left, self.forest, self._vocab.rows)


def _integers(*fields: FloatArray | IntArray | BoolArray) -> SmallIntArray:
    """Records (n, fields); what is infinite becomes NEVER."""
    return np.stack([np.minimum(field, NEVER) for field in fields], axis=1).astype(np.int32)
