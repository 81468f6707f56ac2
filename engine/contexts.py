"""Contexts of covers: the tokens before the last one, and which last tokens are still possible.

This is the definition (`engine/frontier.py`).

What has been read is counted in bytes from where the covers begin. The last token of a context begins at
`start`; the tokens that it may be are a slice of the sorted vocabulary, and reading a byte is a search in one
column of that slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from engine.kernels import Successors, allowed_rows, sorted_weights, sums_of_groups
from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath
from engine.vocab import FloatArray, IntArray


class Scored:
    """What the model says behind some tokens, as far as it is canonical.

    Weights are computed for the rows that are looked at: the first byte rules out nearly all.
    """

    def __init__(
        self, tokenizer: Tokenizer, tokens: TokenPath, row: FloatArray, stop_tokens: IntArray
    ) -> None:
        """`row` (vocab_size,): natural log-probabilities behind the `tokens` from the start of the tail."""
        self.tokenizer, self.vocab = tokenizer, tokenizer.vocab
        self.tokens = tokens
        self.row = row
        self.stop_tokens = stop_tokens
        self.allowed: Successors = tokenizer.successor_rule(tokens)
        """The canonical ones."""

    def stop_share(self) -> float:
        """P(a stop token), 0 where the text may not end."""
        may_end = self.tokenizer.may_end(self.tokens)
        return sum(map(math.exp, self.row[self.stop_tokens].tolist())) if may_end else 0.0

    @cached_property
    def first_byte_sums(self) -> FloatArray:
        """(256,) P(a canonical token that starts with the byte)."""
        allowed = allowed_rows(self.allowed, 0, self.vocab.rows)
        return sums_of_groups(self.row, self.vocab.order, allowed, self.vocab.first_byte_starts)

    def weights(self, low: int, high: int) -> FloatArray:
        """(high - low,) P(t) of the tokens in these rows, 0 for those that are not canonical."""
        return sorted_weights(self.row, self.vocab.order[low:high], allowed_rows(self.allowed, low, high))


@dataclass(frozen=True, slots=True)
class Pending:
    """An exact cover of the first `start` bytes that has not been scored: at most its weight."""

    tokens: TokenPath
    start: int
    log_weight: float


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """A scored context, whose last token is one of rows [low, high)."""

    tokens: TokenPath
    start: int
    low: int
    high: int
    log_weight: float
    """Natural log of P(tokens | fixed tokens)."""
    log_mass: float
    """Natural log of P(covers of this context | fixed tokens): `log_weight` for an exact cover, whatever
    follows it."""
    scored: Scored
    weights: FloatArray | None
    """(high - low,) P(t | fixed tokens, tokens), 0 where tokens + [t] is not canonical; None as long as no
    byte of the last token has been read."""

    def push(self, byte: int, end: int) -> tuple[Context | None, list[Pending]]:
        """What remains once `byte`, the last one before `end`, has been read; the tokens that end with it."""
        vocab, base, weights = self.scored.vocab, self.low, self.weights
        first, low, high = vocab.narrow(base, self.high, end - 1 - self.start, byte)
        if first == high:
            return None, []
        if weights is None:
            base, weights = first, self.scored.weights(first, high)
        ended = [
            Pending((*self.tokens, int(vocab.order[row])), end, self.log_weight + math.log(weight))
            for row, weight in enumerate(weights[first - base : low - base].tolist(), first)
            if weight > 0
        ]
        weights = weights[low - base : high - base]
        mass = float(weights.sum())
        if mass == 0:
            return None, ended
        log = self.log_weight + math.log(mass)
        return replace(self, low=low, high=high, log_mass=log, weights=weights), ended

    def next_byte_sums(self, end: int) -> FloatArray:
        """(256,) P(canonical last tokens that go on with each byte at `end` | fixed tokens, tokens)."""
        if self.weights is None:
            return self.scored.first_byte_sums
        return self.scored.vocab.next_byte_sums(self.weights, self.low, self.high, end - self.start)
