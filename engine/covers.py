"""The exact distribution of the next byte, from the canonical covers of the bytes before it.

Definitions (specification, section 1). A cover of x is a token sequence whose bytes start with x and
whose bytes without the last token are a proper prefix of x. Its tokens without the last are its
*context*; the context and the place where the last token starts determine each other (up to a character
cut in two), so the covers of x are few contexts, each with one range of the sorted vocabulary.

    P(x) = Σ_contexts P(context) · Σ_{t in range, canonical} P(t | context)

An exact cover of x is a context whose last token has not begun: nothing of it is known until the model is
asked, but all its mass is bounded by P(context). Such a context is *pending*; reading a byte never asks
the model, and what is pending is scored only when its mass could matter. Most of what was left pending is
ruled out by the next few bytes: no canonical sequence goes on with them. The tokenizer knows that, so
*pruning* asks no model either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.contexts import Context, Pending
from engine.drafts.drafter import Root
from engine.errors import InputError
from engine.frontier import Frontier, canon_of, certain_best
from engine.kernels import allowed_rows
from engine.runs import STOP as STOP
from engine.runs import Run
from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath, common_prefix_length
from engine.types import ByteDistribution, Cover
from engine.vocab import FloatArray, IntArray

DROPPED_BOUND = 1e-4
"""`open` leaves unscored what certainly holds at most this share of P(tail) together."""


@dataclass(frozen=True, slots=True)
class ByteShares:
    """Shares of P(x), summing to 1 up to rounding: `known` + `unknown` + `non_canonical`."""

    known: FloatArray
    """(257,): by next byte, and STOP."""
    unknown: float
    """Upper bound on what pending covers hold."""
    log_total: float
    """Natural log of P(x | fixed tokens), pending covers counted in full."""

    @property
    def non_canonical(self) -> float:
        """Share of what no tokenizer would produce."""
        return max(0.0, 1.0 - float(self.known.sum()) - self.unknown)

    def certain_best(self) -> int | None:
        """The likeliest symbol, if what is unknown cannot change which it is; else None.

        STOP if nothing can follow at all.
        """
        return certain_best(self.known, self.unknown)


class CoverSpace:
    """One model, one prompt: opens tails and scores contexts behind `fixed` tokens."""

    def __init__(
        self, tokenizer: Tokenizer, scorer: Scorer, stop_tokens: Sequence[int], stop: StopSignal
    ) -> None:
        self.tokenizer = tokenizer
        self.scorer = scorer
        self.stop_tokens = _ends(tokenizer, stop_tokens)
        self.stop = stop
        self._canon = canon_of(tokenizer, self.stop_tokens)

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
        root = self.begin(fixed + settled, settled, tail[len(self.tokenizer.vocab.decode(settled)) :])
        scored = [c for c in relative if self._first_unscored(root.fixed, c[0]) is None]
        state = root.with_branches(scored)
        rest = [c for c in relative if c not in scored]
        dropped = self._negligible(state, rest)
        rest = [c for c in rest if not any(tokens == c[0][: len(tokens)] for tokens, _, _ in dropped)]
        inner = {root.fixed + tokens[:k] for tokens, _ in rest for k in range(len(tokens) + 1)}
        roots = [Root(root.fixed + tokens, head) for tokens, head in relative]
        self.scorer.rows(sorted(inner, key=len), self.stop, roots)
        return state.with_branches(rest).with_pending(dropped)

    def begin(self, fixed: TokenPath, settled: TokenPath, text: bytes) -> CoverState:
        """No covers at all of `text` behind the `fixed` tokens, the last of which are `settled`."""
        return CoverState(self, fixed, settled, self._canon.begin(settled, text))

    def _first_unscored(self, fixed: TokenPath, tokens: TokenPath) -> int | None:
        """Least k such that nothing is known of what follows `tokens[:k]`; None if all is known."""
        return next((k for k in range(len(tokens) + 1) if fixed + tokens[:k] not in self.scorer), None)

    def _negligible(
        self, state: CoverState, unscored: list[tuple[TokenPath, bytes]]
    ) -> list[tuple[TokenPath, int, float]]:
        """Of the `unscored` contexts, as pending covers, those that together hold at most DROPPED_BOUND.

        All that starts with the tokens of a pending cover is at most its weight, so the shortest
        unscored beginnings are compared with what the scored contexts of `state` hold.
        """
        starts = {tokens[: self._first_unscored(state.fixed, tokens)] for tokens, _ in unscored}
        decode = self.tokenizer.vocab.decode
        found = [
            (tokens, len(decode(tokens)), self._log_weight(state.fixed, tokens)) for tokens in sorted(starts)
        ]
        found.sort(key=lambda cover: cover[2])
        held = np.logaddexp.accumulate([log for *_, log in found])
        known = np.logaddexp.reduce([c.log_mass for c in state.contexts])
        most = known + np.log(DROPPED_BOUND) if DROPPED_BOUND else -np.inf
        return found[: int(np.searchsorted(held, most, side="right"))]

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
                if allowed_rows(self.tokenizer.successor_rule(tokens), low, high).any():
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


@dataclass(eq=False, slots=True, weakref_slot=True)
class CoverState:
    """The covers of all bytes read so far. It does not change (it is not `frozen`, because setting a frozen
    field takes several times as long); to take a byte back, keep the state before it."""

    space: CoverSpace
    fixed: TokenPath
    settled: TokenPath
    """The last of the `fixed` tokens: those of the tail that no cover disputes."""
    frontier: Frontier
    """The covers behind the fixed tokens."""
    _is_pruned: bool = field(default=False, init=False)
    """Whether it is known that `pruned` is this state."""
    _pruned: CoverState | None = field(default=None, init=False)
    _shares: ByteShares | None = field(default=None, init=False)

    def _with(self, frontier: Frontier) -> CoverState:
        return CoverState(self.space, self.fixed, self.settled, frontier)

    @property
    def text(self) -> bytes:
        """What was read behind the fixed tokens."""
        return self.frontier.text

    @property
    def contexts(self) -> Sequence[Context]:
        """The scored ones."""
        return self.frontier.contexts

    @property
    def pending(self) -> Sequence[Pending]:
        """The covers that are not scored."""
        return self.frontier.pending

    @property
    def pending_log(self) -> float:
        """Natural log of the sum of their weights."""
        return self.frontier.pending_log

    @property
    def log_total(self) -> float:
        """Natural log of P(text | fixed tokens), pending covers counted in full."""
        return self.frontier.log_total

    # -- reading ----------------------------------------------------------------------------------

    def read(self, text: bytes) -> CoverState:
        """`push` for each byte of `text`."""
        frontier = self.frontier
        for byte in text:
            frontier = frontier.push(byte)
        return self._with(frontier)

    def push(self, byte: int) -> CoverState:
        """The covers once `byte` has been read. Never asks the model."""
        return self._with(self.frontier.push(byte))

    def run(self) -> Run[CoverState]:
        """The symbols that certainly come next. Never asks the model."""
        text, ends, log, frontier = self.frontier.read()
        return Run(text, ends, log, self if frontier is None else self._with(frontier))

    # -- scoring ----------------------------------------------------------------------------------

    def with_branches(self, branches: Sequence[tuple[TokenPath, bytes]]) -> CoverState:
        """These covers and those of `branches`: contexts whose rows are cached, with their heads.

        What ends inside a branch is not kept: it is a context of its own.
        """
        frontier, end = self.frontier, len(self.text)
        for tokens, head in branches:
            log_weight = self.space._log_weight(self.fixed, tokens)
            (row,) = self.space.scorer.rows([self.fixed + tokens], self.space.stop)
            frontier = frontier.with_context(tokens, end - len(head), log_weight, row)
        return self._with(frontier)

    def with_pending(self, covers: Sequence[tuple[TokenPath, int, float]]) -> CoverState:
        """These covers and others that are pending: tokens, start, natural log of their weight."""
        return self._with(self.frontier.with_pending(covers)) if covers else self

    def resolve(self, chosen: Sequence[Pending]) -> CoverState:
        """The same covers with the `chosen` pending ones scored, in one evaluation."""
        if not chosen:
            return self
        scorer, paths = self.space.scorer, [self.fixed + p.tokens for p in chosen]
        rows = scorer.rows(paths, self.space.stop, self._roots(chosen) if scorer.drafter else ())
        return self._with(self.frontier.with_scored(chosen, rows))

    def _roots(self, chosen: Sequence[Pending]) -> list[Root]:
        """Where a draft may begin."""
        total, text = self.log_total, self.text
        return [
            Root(self.fixed + p.tokens, text[p.start :], math.exp(min(0.0, p.log_weight - total)))
            for p in chosen
        ]

    @property
    def pruned(self) -> CoverState:
        """The same covers without the pending ones that cannot go on with what was read behind them.

        Never asks the model. This state if there are none.
        """
        if self._is_pruned or self.frontier.is_open:
            return self
        if self._pruned is None:
            self._prune()
        return self._pruned or self

    def _prune(self) -> None:
        """Finds `pruned`. A state that held itself would wait for the garbage collector."""
        frontier = self.frontier.pruned()
        if frontier is None:
            self._is_pruned = True
        else:
            self._pruned = self._with(frontier)
            self._pruned._is_pruned = True

    def ask(self) -> CoverState:
        """The same covers, pruned, with those scored that are worth it, in one evaluation at most."""
        pruned, scorer = self.pruned, self.space.scorer
        if not (paths := pruned.frontier.paths()):
            return pruned
        roots = pruned._roots(pruned.frontier.worth_scoring()) if scorer.drafter else ()
        rows = scorer.rows([self.fixed + tokens for tokens in paths], self.space.stop, roots)
        return pruned._with(pruned.frontier.with_rows(rows))

    # -- shares -----------------------------------------------------------------------------------

    @property
    def shares(self) -> ByteShares:
        """What each next byte, a stop, and everything else hold of P(x)."""
        if self._shares is None:
            self._shares = ByteShares(*self.frontier.shares(), self.log_total)
        return self._shares

    @property
    def cover_count(self) -> int:
        """Number of `covers`."""
        begun = [1 if c.weights is None else int(np.count_nonzero(c.weights)) for c in self.contexts]
        return sum(begun) + sum(p.start == len(self.text) for p in self.pending)

    def covers(self) -> list[Cover]:
        """Every cover with positive mass, likeliest first. Tokens are counted from the fixed ones."""
        end, vocab = len(self.text), self.space.tokenizer.vocab
        found = [Cover(p.tokens, p.log_weight, b"") for p in self.pending if p.start == end]
        for context in self.contexts:
            if context.weights is None:
                found.append(Cover(context.tokens, context.log_weight, b""))
                continue
            for place in context.weights.nonzero()[0].tolist():
                row, log = context.low + place, context.log_weight + math.log(context.weights[place])
                overhang = vocab.sorted_bytes[row][end - context.start :]
                found.append(Cover((*context.tokens, int(vocab.order[row])), log, overhang))
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
            logp_tail=self.log_total,
        )
