"""A toy model for tests: fixed random conditional tables, exact to float64. Not a product feature."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from engine.backends.base import StopSignal
from engine.drafts.nearest import Places
from engine.tree import ROOT, TokenPath, TokenTree
from engine.vocab import FloatArray

Table = Callable[[TokenPath], FloatArray]
"""Path → (vocab_size,) natural log-probabilities of the next token."""


def random_table(vocab_size: int, seed: int, sharpness: float = 1.5) -> Table:
    """A table that draws each path's logits from a normal distribution seeded by path and `seed`."""

    def row(path: TokenPath) -> FloatArray:
        digest = hashlib.sha256(repr((seed, path)).encode()).digest()
        logits: FloatArray = np.random.default_rng(int.from_bytes(digest[:8], "big")).normal(
            0, sharpness, vocab_size
        )
        logits -= np.log(np.exp(logits).sum())
        return logits

    return row


class FakeBackend:
    """Answers from a table and counts what a real model would have evaluated."""

    def __init__(self, table: Table, vocab_size: int, context_length: int = 4096) -> None:
        self._table = table
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.evaluations = 0
        self.tokens_evaluated = 0

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`."""
        stop.check()
        self.evaluations += 1
        self.tokens_evaluated += max(1, len(tree))
        return [
            self._table(
                (*context, *(tree.tokens[n] for n in tree.branch(node))) if node != ROOT else tuple(context)
            )
            for node in wanted
        ]

    def alike(self, path: TokenPath) -> Places:
        """See `drafts.nearest.Alike`; as if the last token were all of a state."""
        places = [at for at in range(1, len(path) - 1) if path[at] == path[-1]]
        return [(at, 1.0 if path[at - 1] == path[-2] else 0.5) for at in places]

    def close(self) -> None:
        """See `Backend.close`."""
