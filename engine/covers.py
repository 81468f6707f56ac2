"""The exact distribution of the next byte, from the canonical covers of the bytes before it.

Definitions (specification, section 1). A cover of x is a token sequence whose bytes start with x and
whose bytes without the last token are a proper prefix of x. Its tokens without the last are its
*context*; the context and the place where the last token starts determine each other (up to a character
cut in two), so the covers of x are few contexts, each with one range of the sorted vocabulary.

    P(x) = Σ_contexts P(context) · Σ_{t in range, canonical} P(t | context)

An exact cover of x is a context whose last token has not begun: nothing of it is known until the model is
asked, but all its mass is bounded by P(context). Such a context is *pending*; reading a byte never asks
the model, and what is pending is scored only when its mass could matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.drafts.drafter import Root
from engine.errors import InputError
from engine.kernels import sorted_weights
from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath, common_prefix_length
from engine.types import ByteDistribution, Cover
from engine.vocab import FloatArray, IntArray, Vocab

STOP = 256
"""Index of "the middle ends here" behind the 256 byte values."""
WORTH_SCORING = 0.02
"""When the model must be asked, pending covers with at least this share are scored together."""
DROPPED_BOUND = 1e-4
"""`open` leaves unscored what certainly holds at most this share of P(tail) together."""


@dataclass(frozen=True, eq=False)
class Context:
    """A scored context: the last token starts with `head`, and is one of rows [low, high)."""

    tokens: TokenPath
    head: bytes
    low: int
    high: int
    log_weight: float
    """Natural log of P(tokens | fixed tokens)."""
    weights: FloatArray
    """(rows,) P(t | fixed tokens, tokens) in sorted order, 0 where tokens + [t] is not canonical."""
    stop_share: float
    """P(a stop token | fixed tokens, tokens), 0 where the text may not end."""

    @cached_property
    def mass(self) -> float:
        """P(covers of this context | context): 1 for the exact cover, whatever follows it."""
        return 1.0 if not self.head else float(self.weights[self.low : self.high].sum())

    def read(self, text: bytes, vocab: Vocab) -> tuple[list[Context], list[Pending]]:
        """What remains of this context after `text`: a narrower range, if any; tokens that end on the way."""
        low, high, head, ended = self.low, self.high, self.head, []
        for length in range(1, len(text) + 1):
            head += text[length - 1 : length]
            first, high = vocab.prefix_range(head, low, high)
            first, low = vocab.exact_range(head, first, high)
            rest = text[length:]
            if first < low and (not rest or vocab.may_start(rest)):
                ended += [self._ended(row, rest, vocab) for row in range(first, low) if self.weights[row] > 0]
        narrowed = replace(self, head=head, low=low, high=high)
        return [narrowed] if low < high and narrowed.mass > 0 else [], ended

    def _ended(self, row: int, head: bytes, vocab: Vocab) -> Pending:
        """The cover whose last token is that of `row`, with `head` read behind it."""
        log_weight = self.log_weight + math.log(self.weights[row])
        return Pending((*self.tokens, int(vocab.order[row])), head, log_weight)


@dataclass(frozen=True, slots=True)
class Pending:
    """An exact cover at the place where `head` began that has not been scored: at most its weight."""

    tokens: TokenPath
    head: bytes
    log_weight: float


@dataclass(frozen=True, slots=True)
class ByteShares:
    """Shares of P(x), summing to 1 up to rounding: `known` + `unknown` + `non_canonical`."""

    known: FloatArray
    """(257,): by next byte, and STOP."""
    unknown: float
    """Upper bound on what pending covers hold."""
    non_canonical: float
    log_total: float
    """Natural log of P(x | fixed tokens), pending covers counted in full."""

    def certain_best(self) -> int | None:
        """The likeliest symbol, if what is unknown cannot change which it is; else None.

        STOP if nothing can follow at all.
        """
        best = int(self.known.argmax())
        if self.known[best] == 0:
            return STOP if self.unknown == 0 else None
        second = np.partition(self.known, -2)[-2]
        return best if self.unknown == 0 or self.known[best] >= second + self.unknown else None


class CoverSpace:
    """One model, one prompt: opens tails and scores contexts behind `fixed` tokens."""

    def __init__(
        self, tokenizer: Tokenizer, scorer: Scorer, stop_tokens: Sequence[int], stop: StopSignal
    ) -> None:
        self.tokenizer = tokenizer
        self.scorer = scorer
        self.stop_tokens = _ends(tokenizer, stop_tokens)
        self.stop = stop

    def open(self, fixed: TokenPath, tail: bytes) -> CoverState:
        """All covers of `tail` behind the `fixed` tokens, in at most one evaluation.

        Every context is scored but those that certainly hold at most DROPPED_BOUND of P(tail) together;
        they are pending. Tokens that every context starts with are moved to the state's `fixed` tokens.
        `fixed` may not be empty. Raises InputError if no canonical token sequence covers the tail.
        """
        contexts = self._candidates(tail)
        if not contexts:
            raise InputError("the text before the cursor cannot be expressed in the model's vocabulary")
        shared = common_prefix_length([tokens for tokens, _ in contexts])
        settled = contexts[0][0][:shared]
        relative = [(tokens[shared:], head) for tokens, head in contexts]
        root = CoverState(self, fixed + settled, settled, (), ())
        scored = [c for c in relative if self._first_unscored(root.fixed, c[0]) is None]
        state = root.with_branches(scored)
        rest = [c for c in relative if c not in scored]
        dropped = self._negligible(state, rest)
        rest = [c for c in rest if not any(p.tokens == c[0][: len(p.tokens)] for p in dropped)]
        inner = {root.fixed + tokens[:k] for tokens, _ in rest for k in range(len(tokens) + 1)}
        roots = [Root(root.fixed + tokens, head) for tokens, head in relative]
        self.scorer.rows(sorted(inner, key=len), self.stop, roots)
        return replace(state.with_branches(rest), pending=dropped)

    def _first_unscored(self, fixed: TokenPath, tokens: TokenPath) -> int | None:
        """Least k such that nothing is known of what follows `tokens[:k]`; None if all is known."""
        return next((k for k in range(len(tokens) + 1) if fixed + tokens[:k] not in self.scorer), None)

    def _negligible(self, state: CoverState, unscored: list[tuple[TokenPath, bytes]]) -> tuple[Pending, ...]:
        """Of the `unscored` contexts, as pending, those that together hold at most DROPPED_BOUND.

        All that starts with the tokens of a pending cover is at most its weight, so the shortest
        unscored beginnings are compared with what the scored contexts of `state` hold.
        """
        starts: dict[TokenPath, bytes] = {}
        for tokens, head in unscored:
            first = self._first_unscored(state.fixed, tokens)
            starts[tokens[:first]] = self.tokenizer.vocab.decode(tokens[first:]) + head
        found = [
            Pending(tokens, head, self._log_weight(state.fixed, tokens)) for tokens, head in starts.items()
        ]
        found.sort(key=lambda p: p.log_weight)
        held = np.logaddexp.accumulate([p.log_weight for p in found])
        known = np.logaddexp.reduce([c.log_weight + float(np.log(c.mass)) for c in state.contexts])
        most = known + np.log(DROPPED_BOUND) if DROPPED_BOUND else -np.inf
        return tuple(found[: int(np.searchsorted(held, most, side="right"))])

    def _candidates(self, tail: bytes) -> list[tuple[TokenPath, bytes]]:
        """(context, start of its last token) of every cover of `tail`."""
        vocab, found = self.tokenizer.vocab, []
        for start in range(max(0, len(tail) - vocab.max_token_bytes + 1), len(tail)):
            head = tail[start:]
            low, high = vocab.prefix_range(head)
            low = vocab.exact_range(head, low, high)[1]
            if low == high:
                continue
            for tokens in self.tokenizer.encodings(tail[:start]):
                if self.tokenizer.successors(tokens)[low:high].any():
                    found.append((tokens, head))
        return found + [(tokens, b"") for tokens in self.tokenizer.encodings(tail)]

    def _log_weight(self, fixed: TokenPath, tokens: TokenPath) -> float:
        rows = self.scorer.rows([fixed + tokens[:k] for k in range(len(tokens))], self.stop)
        return float(sum(row[token] for row, token in zip(rows, tokens, strict=True)))


def _ends(tokenizer: Tokenizer, stop_tokens: Sequence[int]) -> IntArray:
    """Of the `stop_tokens` those that no text contains: one that is text would be counted as both."""
    ends = np.array(sorted(set(stop_tokens)), dtype=np.int64)
    rows = tokenizer.vocab.row_of[ends]
    return ends[~tokenizer.successors(())[rows] | (rows < 0)] if (rows >= 0).any() else ends


@dataclass(frozen=True, eq=False)
class CoverState:
    """The covers of all bytes read so far. Immutable: to take a byte back, keep the state before it."""

    space: CoverSpace
    fixed: TokenPath
    settled: TokenPath
    """The last of the `fixed` tokens: those of the tail that no cover disputes."""
    contexts: tuple[Context, ...]
    pending: tuple[Pending, ...]

    # -- reading ----------------------------------------------------------------------------------

    def read(self, text: bytes) -> CoverState:
        """`push` for each byte of `text`."""
        state = self
        for byte in text:
            state = state.push(byte)
        return state

    def push(self, byte: int) -> CoverState:
        """The covers once `byte` has been read. Never asks the model."""
        text, vocab = bytes([byte]), self.space.tokenizer.vocab
        contexts: list[Context] = []
        begun = [p for p in self.pending if p.head or vocab.may_start(text)]
        pending = [Pending(p.tokens, p.head + text, p.log_weight) for p in begun]
        for context in self.contexts:
            rest, ended = context.read(text, vocab)
            contexts += rest
            pending += ended
        return replace(self, contexts=tuple(contexts), pending=tuple(pending))

    # -- scoring ----------------------------------------------------------------------------------

    def with_branches(self, branches: Sequence[tuple[TokenPath, bytes]]) -> CoverState:
        """These covers and those of `branches`: contexts whose rows are cached, with their heads.

        What ends inside a branch is not kept: it is a context of its own.
        """
        found = list(self.contexts)
        for tokens, head in branches:
            context = self.opened(tokens, self.space._log_weight(self.fixed, tokens))
            found += context.read(head, self.space.tokenizer.vocab)[0]
        return replace(self, contexts=tuple(found))

    def opened(self, tokens: TokenPath, log_weight: float) -> Context:
        """The context `tokens` before its last token has begun. Asks the model unless the row is cached.

        What may follow depends on the tail's tokens from its start: on `settled` too.
        """
        space, vocab = self.space, self.space.tokenizer.vocab
        (row,) = space.scorer.rows([self.fixed + tokens], space.stop)
        weights = sorted_weights(row, vocab.order, space.tokenizer.successors(self.settled + tokens))
        may_end = space.tokenizer.may_end(self.settled + tokens)
        stop_share = float(np.exp(row[space.stop_tokens]).sum()) if may_end else 0.0
        return Context(tokens, b"", 0, vocab.rows, log_weight, weights, stop_share)

    def resolve(self, chosen: Sequence[Pending]) -> CoverState:
        """The same covers with the `chosen` pending ones scored, in one evaluation."""
        total = self.shares.log_total
        roots = [
            Root(self.fixed + p.tokens, p.head, float(np.exp(min(0.0, p.log_weight - total)))) for p in chosen
        ]
        self.space.scorer.rows([root.path for root in roots], self.space.stop, roots)
        contexts = list(self.contexts)
        pending = [p for p in self.pending if p not in chosen]
        for p in chosen:
            rest, ended = self.opened(p.tokens, p.log_weight).read(p.head, self.space.tokenizer.vocab)
            contexts += rest
            pending += ended
        return replace(self, contexts=tuple(contexts), pending=tuple(pending))

    @property
    def worth_scoring(self) -> Sequence[Pending]:
        """The pending covers that are scored next: those with a share of WORTH_SCORING, or else all."""
        least = self.shares.log_total + float(np.log(WORTH_SCORING))
        return [p for p in self.pending if p.log_weight >= least] or self.pending

    def ask(self) -> CoverState:
        """The same covers with those pending ones scored that are worth it, in one evaluation."""
        return self.resolve(self.worth_scoring)

    # -- shares -----------------------------------------------------------------------------------

    @cached_property
    def shares(self) -> ByteShares:
        """What each next byte, a stop, and everything else hold of P(x)."""
        logs = [c.log_weight + math.log(c.mass) for c in self.contexts]
        logs += [p.log_weight for p in self.pending]
        peak = max(logs, default=0.0)
        vocab, known = self.space.tokenizer.vocab, np.zeros(STOP + 1)
        for context in self.contexts:
            weight = math.exp(context.log_weight - peak)
            known[:STOP] += weight * vocab.next_byte_sums(
                context.weights, context.low, context.high, len(context.head)
            )
            if not context.head:
                known[STOP] += weight * context.stop_share
        total = sum(math.exp(log - peak) for log in logs) or 1.0
        unknown = sum(math.exp(p.log_weight - peak) for p in self.pending) / total
        known /= total
        non_canonical = max(0.0, 1.0 - float(known.sum()) - unknown)
        return ByteShares(known, unknown, non_canonical, peak + math.log(total))

    @property
    def cover_count(self) -> int:
        """Number of `covers`."""
        begun = [np.count_nonzero(c.weights[c.low : c.high]) if c.head else 1 for c in self.contexts]
        return int(sum(begun)) + sum(not p.head for p in self.pending)

    def covers(self) -> list[Cover]:
        """Every cover with positive mass, likeliest first. Tokens are counted from the fixed ones."""
        vocab, found = self.space.tokenizer.vocab, []
        for context in self.contexts:
            if not context.head:
                found.append(Cover(context.tokens, context.log_weight, b""))
                continue
            for row in context.low + np.flatnonzero(context.weights[context.low : context.high]):
                tokens = (*context.tokens, int(vocab.order[row]))
                log_probability = context.log_weight + float(np.log(context.weights[row]))
                found.append(Cover(tokens, log_probability, vocab.sorted_bytes[row][len(context.head) :]))
        found += [Cover(p.tokens, p.log_weight, b"") for p in self.pending if not p.head]
        return sorted(found, key=lambda cover: -cover.logp)

    def distribution(self, evaluations: int) -> ByteDistribution:
        """The state as a result to hand out; `evaluations` is what it cost."""
        shares = self.shares
        return ByteDistribution(
            law="canonical",
            bytes_=tuple(shares.known[:STOP].tolist()),
            stop=float(shares.known[STOP]),
            non_canonical=shares.non_canonical,
            dropped_bound=shares.unknown,
            covers=tuple(self.covers()),
            model_evaluations=evaluations,
            logp_tail=shares.log_total,
        )
