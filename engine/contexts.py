"""Contexts of covers: the tokens before the last one, and which last tokens are still possible.

What has been read is counted in bytes from where the covers begin. The last token of a context begins at
`start`; the tokens that it may be are a slice of the sorted vocabulary, and reading a byte is a search in one
column of that slice.

Nothing here changes once it is made. The classes do not say `frozen`: setting a frozen field takes several
times as long, and these are made for every token, behind a decode that has emptied all caches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.kernels import Open, Successors, allowed_rows, sorted_weights, sums_of_groups
from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath
from engine.vocab import ByteArray, FloatArray, IntArray

EVERY_BYTE: ByteArray = np.arange(256, dtype=np.uint8)


class Scored:
    """What the model says behind some tokens, as far as it is canonical.

    Weights are computed for the rows that are looked at: the first byte rules out nearly all.
    """

    __slots__ = (
        "_stop_share",
        "allowed",
        "known_first_byte_sums",
        "row",
        "stop_tokens",
        "tokenizer",
        "tokens",
        "vocab",
    )

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
        self.known_first_byte_sums: FloatArray | None = None
        """`first_byte_sums`, once somebody has found them."""
        self._stop_share: float | None = None

    def stop_share(self) -> float:
        """P(a stop token), 0 where the text may not end."""
        if self._stop_share is None:
            may_end = self.tokenizer.may_end(self.tokens)
            self._stop_share = sum(map(math.exp, self.row[self.stop_tokens].tolist())) if may_end else 0.0
        return self._stop_share

    @property
    def first_byte_sums(self) -> FloatArray:
        """(256,) P(a canonical token that starts with the byte)."""
        if self.known_first_byte_sums is None:
            allowed = allowed_rows(self.allowed, 0, self.vocab.rows)
            self.known_first_byte_sums = sums_of_groups(
                self.row, self.vocab.order, allowed, self.vocab.first_byte_starts
            )
        return self.known_first_byte_sums

    def weights(self, low: int, high: int) -> FloatArray:
        """(high - low,) P(t) of the tokens in these rows, 0 for those that are not canonical."""
        return sorted_weights(self.row, self.vocab.order[low:high], allowed_rows(self.allowed, low, high))


@dataclass(slots=True)
class Pending:
    """An exact cover of the first `start` bytes that has not been scored: at most its weight."""

    tokens: TokenPath
    start: int
    log_weight: float


@dataclass(eq=False, slots=True)
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
            self.followed_by(row, self.log_weight + math.log(weight), end)
            for row, weight in enumerate(weights[first - base : low - base].tolist(), first)
            if weight > 0
        ]
        weights = weights[low - base : high - base]
        mass = float(weights.sum())
        if mass == 0:
            return None, ended
        return self.narrowed(low, high, weights, self.log_weight + math.log(mass)), ended

    def opened(self, end: int) -> Open:
        """The context behind `end` bytes, for kernels."""
        scored = self.scored
        return Open(
            self.log_weight, end - self.start, self.low, self.high, self.weights, scored.row, scored.allowed,
            scored.known_first_byte_sums, scored.stop_share,
        )  # fmt: skip

    def narrowed(self, low: int, high: int, weights: FloatArray, log_mass: float) -> Context:
        """The context once more of its last token was read: one of rows [low, high), of the mass."""
        return Context(self.tokens, self.start, low, high, self.log_weight, log_mass, self.scored, weights)

    def followed_by(self, row: int, log_weight: float, end: int) -> Pending:
        """The cover of `log_weight` whose last token is that of `row`, which ends there."""
        return Pending((*self.tokens, int(self.scored.vocab.order[row])), end, log_weight)

    def next_bytes(self, end: int) -> tuple[FloatArray, ByteArray]:
        """P(canonical last tokens | fixed tokens, tokens), and their bytes at `end`, which ascend."""
        if self.weights is None:
            return self.scored.first_byte_sums, EVERY_BYTE
        return self.scored.vocab.next_bytes(self.weights, self.low, self.high, end - self.start)

    def last_tokens(self, end: int) -> list[tuple[int, float, bytes]]:
        """(token, natural log of its weight, its bytes from `end` on) for each that is canonical."""
        if self.weights is None:
            return []
        vocab, found = self.scored.vocab, []
        for row in (self.low + self.weights.nonzero()[0]).tolist():
            overhang = vocab.sorted_bytes[row][end - self.start :]
            found.append((int(vocab.order[row]), math.log(self.weights[row - self.low]), overhang))
        return found
