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
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from operator import itemgetter

import numpy as np

from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.contexts import Context, Pending, Scored
from engine.drafts.drafter import Root
from engine.errors import InputError
from engine.kernels import (
    MORE_THAN_HALF,
    allowed_rows,
    beginnings,
    mixed_sums,
    read_surely,
    two_greatest,
)
from engine.runs import STOP as STOP
from engine.runs import Run, single_step
from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath, common_prefix_length
from engine.types import ByteDistribution, Cover
from engine.vocab import COLUMN_DEPTH, FloatArray, IntArray

SCORED_SHARE = 0.9
"""When the model must be asked, the likeliest pending covers that together hold this share are scored."""
MOST_BESIDE_PENDING = 0.999
"""Less than this share of what is pending cannot be certain, whatever rounding does."""
LEFT_BEHIND = 0.1
"""Part of its weight that a pending cover behind which something was read counts with there."""
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
        best, most, second = two_greatest(self.known)
        if most == 0:
            return STOP if self.unknown == 0 else None
        if self.unknown == 0 or most > MORE_THAN_HALF:
            return best
        return best if most >= second + self.unknown else None


class CoverSpace:
    """One model, one prompt: opens tails and scores contexts behind `fixed` tokens."""

    def __init__(
        self, tokenizer: Tokenizer, scorer: Scorer, stop_tokens: Sequence[int], stop: StopSignal
    ) -> None:
        self.tokenizer = tokenizer
        self.scorer = scorer
        self.stop_tokens = _ends(tokenizer, stop_tokens)
        self.stop = stop
        self._verdicts: dict[tuple[TokenPath, bytes], bool] = {}
        """What `goes_on` found, by the end of the tokens: texts that are tried beside each other share it."""

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
        root = CoverState(self, fixed + settled, settled, tail[len(self.tokenizer.vocab.decode(settled)) :])
        scored = [c for c in relative if self._first_unscored(root.fixed, c[0]) is None]
        state = root.with_branches(scored)
        rest = [c for c in relative if c not in scored]
        dropped = self._negligible(state, rest)
        rest = [c for c in rest if not any(p.tokens == c[0][: len(p.tokens)] for p in dropped)]
        inner = {root.fixed + tokens[:k] for tokens, _ in rest for k in range(len(tokens) + 1)}
        roots = [Root(root.fixed + tokens, head) for tokens, head in relative]
        self.scorer.rows(sorted(inner, key=len), self.stop, roots)
        state = state.with_branches(rest)
        return state.with_covers(state.contexts, dropped)

    def _first_unscored(self, fixed: TokenPath, tokens: TokenPath) -> int | None:
        """Least k such that nothing is known of what follows `tokens[:k]`; None if all is known."""
        return next((k for k in range(len(tokens) + 1) if fixed + tokens[:k] not in self.scorer), None)

    def _negligible(self, state: CoverState, unscored: list[tuple[TokenPath, bytes]]) -> tuple[Pending, ...]:
        """Of the `unscored` contexts, as pending, those that together hold at most DROPPED_BOUND.

        All that starts with the tokens of a pending cover is at most its weight, so the shortest
        unscored beginnings are compared with what the scored contexts of `state` hold.
        """
        starts = {tokens[: self._first_unscored(state.fixed, tokens)] for tokens, _ in unscored}
        decode = self.tokenizer.vocab.decode
        found = [
            Pending(tokens, len(decode(tokens)), self._log_weight(state.fixed, tokens))
            for tokens in sorted(starts)
        ]
        found.sort(key=lambda p: p.log_weight)
        held = np.logaddexp.accumulate([p.log_weight for p in found])
        known = np.logaddexp.reduce([c.log_mass for c in state.contexts])
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
                if allowed_rows(self.tokenizer.successor_rule(tokens), low, high).any():
                    found.append((tokens, head))
        return found + [(tokens, b"") for tokens in self.tokenizer.encodings(tail)]

    def goes_on(self, tokens: TokenPath, text: bytes) -> bool:
        """Whether some canonical sequence has the bytes `text` behind `tokens`, which are canonical."""
        end = self.tokenizer.context_end(tokens)
        verdict = self._verdicts.get((end, text))
        if verdict is None:
            verdict = self._verdicts[end, text] = self._find_goes_on(end, text)
        return verdict

    def _find_goes_on(self, tokens: TokenPath, text: bytes) -> bool:
        """Long tokens are tried first: they are canonical most often."""
        vocab, rule = self.tokenizer.vocab, self.tokenizer.successor_rule(tokens)
        is_begun, ended = beginnings(vocab.tables, rule, text[:COLUMN_DEPTH])
        if len(text) <= COLUMN_DEPTH:
            if is_begun or not text:
                return True
        elif is_begun:
            low, high = vocab.prefix_range(text[:COLUMN_DEPTH])
            longer = [low + row for row in np.flatnonzero(allowed_rows(rule, low, high)).tolist()]
            if any(vocab.sorted_bytes[row].startswith(text) for row in longer):
                return True
            ended += [row for row in longer if text.startswith(vocab.sorted_bytes[row])]
        followed = [(*tokens, int(vocab.order[row])) for row in reversed(ended)]
        return any(self.goes_on(path, text[len(vocab.token_bytes[path[-1]]) :]) for path in followed)

    def _log_weight(self, fixed: TokenPath, tokens: TokenPath) -> float:
        rows = self.scorer.rows([fixed + tokens[:k] for k in range(len(tokens))], self.stop)
        return float(sum(row[token] for row, token in zip(rows, tokens, strict=True)))


def _ends(tokenizer: Tokenizer, stop_tokens: Sequence[int]) -> IntArray:
    """Of the `stop_tokens` those that no text contains: one that is text would be counted as both."""
    ends = np.array(sorted(set(stop_tokens)), dtype=np.int64)
    rows = tokenizer.vocab.row_of[ends]
    return ends[~tokenizer.successors(())[rows] | (rows < 0)] if (rows >= 0).any() else ends


@dataclass(eq=False)
class CoverState:
    """The covers of all bytes read so far. It does not change (nor is it `frozen`, for the reason that
    `engine.contexts` gives): to take a byte back, keep the state before it."""

    space: CoverSpace
    fixed: TokenPath
    settled: TokenPath
    """The last of the `fixed` tokens: those of the tail that no cover disputes."""
    text: bytes
    """What was read behind the fixed tokens."""
    contexts: tuple[Context, ...] = ()
    pending: tuple[Pending, ...] = ()
    pending_log: float = -math.inf
    """Natural log of the sum of their weights."""
    is_open: bool = False
    """Whether it is known to be uncertain what comes next."""
    _is_pruned: bool = field(default=False, init=False)
    """Whether it is known that `pruned` is this state."""
    _pruned: CoverState | None = field(default=None, init=False)

    def with_covers(self, contexts: Sequence[Context], pending: Sequence[Pending]) -> CoverState:
        """Other covers of the same bytes."""
        contexts, pending, log = tuple(contexts), tuple(pending), _log_sum(pending)
        return CoverState(self.space, self.fixed, self.settled, self.text, contexts, pending, log)

    # -- reading ----------------------------------------------------------------------------------

    def read(self, text: bytes) -> CoverState:
        """`push` for each byte of `text`."""
        state = self
        for byte in text:
            state = state.push(byte)
        return state

    def push(self, byte: int) -> CoverState:
        """The covers once `byte` has been read. Never asks the model."""
        end, contexts, ended = len(self.text) + 1, [], []
        for context in self.contexts:
            rest, over = context.push(byte, end)
            contexts += [rest] if rest else []
            ended += over
        pending, log = self.pending, self.pending_log
        if not self.space.tokenizer.vocab.may_start(byte):
            pending = tuple(p for p in pending if p.start < end - 1)
            log = _log_sum(pending)
        if ended:
            pending, log = pending + tuple(ended), float(np.logaddexp(log, _log_sum(ended)))
        text = self.text + bytes([byte])
        return CoverState(self.space, self.fixed, self.settled, text, tuple(contexts), pending, log)

    def run(self) -> Run[CoverState]:
        """The symbols that certainly come next. Never asks the model."""
        if self.is_open or self._is_mostly_pending:
            return Run((), (), self)
        end, of = len(self.text), self.contexts
        opened = [context.opened(end) for context in of]
        symbols, shares, contexts, ended, pending_log, is_open, sums = read_surely(
            self.space.tokenizer.vocab.tables, opened, self.pending_log
        )
        for number, found in sums:
            of[number].scored.known_first_byte_sums = found
        if not symbols:
            return Run((), (), self) if is_open else single_step(self)
        if symbols[-1] == STOP:
            return Run(tuple(symbols), tuple(shares), self)
        over = [of[number].followed_by(row, log, end + read) for number, read, row, log in ended]
        left = [of[number].narrowed(low, high, held, log) for number, low, high, held, log in contexts]
        behind = CoverState(
            self.space, self.fixed, self.settled, self.text + bytes(symbols), tuple(left),
            (*self.pending, *over), pending_log, is_open,
        )  # fmt: skip
        return Run(tuple(symbols), tuple(shares), behind)

    @property
    def _is_mostly_pending(self) -> bool:
        """Whether what is pending is clearly more than all else, so that nothing is certain without it."""
        above = [context.log_mass - self.pending_log for context in self.contexts]
        if max(above, default=-math.inf) >= 0:
            return False
        return self.pending_log > -math.inf and sum(map(math.exp, above)) < MOST_BESIDE_PENDING

    # -- scoring ----------------------------------------------------------------------------------

    def with_branches(self, branches: Sequence[tuple[TokenPath, bytes]]) -> CoverState:
        """These covers and those of `branches`: contexts whose rows are cached, with their heads.

        What ends inside a branch is not kept: it is a context of its own.
        """
        found = list(self.contexts)
        for tokens, head in branches:
            log_weight = self.space._log_weight(self.fixed, tokens)
            (row,) = self.space.scorer.rows([self.fixed + tokens], self.space.stop)
            found += self._opened(Pending(tokens, len(self.text) - len(head), log_weight), row)[0]
        return self.with_covers(found, self.pending)

    def _opened(self, cover: Pending, row: FloatArray) -> tuple[list[Context], list[Pending]]:
        """What remains of the context `cover.tokens`, whose row it is, behind all that was read; tokens that
        ended on the way.

        What may follow depends on the tail's tokens from its start: on `settled` too.
        """
        space, vocab = self.space, self.space.tokenizer.vocab
        tokens = self.settled + cover.tokens
        scored = Scored(space.tokenizer, tokens, row, space.stop_tokens)
        log = cover.log_weight
        context: Context | None = Context(cover.tokens, cover.start, 0, vocab.rows, log, log, scored, None)
        ended: list[Pending] = []
        for end in range(cover.start + 1, len(self.text) + 1):
            if context is None:
                break
            context, over = context.push(self.text[end - 1], end)
            if end == len(self.text) or vocab.may_start(self.text[end]):
                ended += over
        return [context] if context else [], ended

    def resolve(self, chosen: Sequence[Pending]) -> CoverState:
        """The same covers with the `chosen` pending ones scored, in one evaluation."""
        if not chosen:
            return self
        scorer, paths = self.space.scorer, [self.fixed + p.tokens for p in chosen]
        rows = scorer.rows(paths, self.space.stop, self._roots(chosen) if scorer.drafter else ())
        contexts = list(self.contexts)
        pending = [p for p in self.pending if p not in chosen]
        for p, row in zip(chosen, rows, strict=True):
            rest, ended = self._opened(p, row)
            contexts += rest
            pending += ended
        return self.with_covers(contexts, pending)

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
        if not self._is_pruned and self._pruned is None:
            self._prune()
        return self._pruned or self

    def _prune(self) -> None:
        """Finds `pruned`. A state that held itself would wait for the garbage collector."""
        end, goes_on = len(self.text), self.space.goes_on
        kept = [
            p
            for p in self.pending
            if p.start == end or goes_on(self.settled + p.tokens, self.text[p.start :])
        ]
        if len(kept) == len(self.pending):
            self._is_pruned = True
        else:
            self._pruned = self.with_covers(self.contexts, kept)
            self._pruned._is_pruned = True

    @property
    def worth_scoring(self) -> Sequence[Pending]:
        """The pending covers that are scored next: the likeliest, which together hold SCORED_SHARE."""
        if len(self.pending) == 1:
            return self.pending
        end, total = len(self.text), self.log_total
        found = [
            (math.exp(p.log_weight - total) * (1.0 if p.start == end else LEFT_BEHIND), p)
            for p in self.pending
        ]
        found.sort(key=itemgetter(0), reverse=True)
        held = list(accumulate(weight for weight, _ in found))
        return [p for _, p in found[: bisect_left(held, SCORED_SHARE * held[-1]) + 1]] if found else []

    def ask(self) -> CoverState:
        """The same covers, pruned, with those scored that are worth it, in one evaluation at most."""
        return self.pruned.resolve(self.pruned.worth_scoring)

    # -- shares -----------------------------------------------------------------------------------

    @cached_property
    def log_total(self) -> float:
        """Natural log of P(x | fixed tokens), pending covers counted in full."""
        logs = [self.pending_log, *(context.log_mass for context in self.contexts)]
        peak = max(logs)
        return peak + math.log(sum(math.exp(log - peak) for log in logs)) if peak > -math.inf else peak

    @cached_property
    def shares(self) -> ByteShares:
        """What each next byte, a stop, and everything else hold of P(x)."""
        total, end = self.log_total, len(self.text)
        if total == -math.inf:
            return ByteShares(np.zeros(STOP + 1), 0.0, total)
        scales = [math.exp(context.log_weight - total) for context in self.contexts]
        following = [context.next_bytes(end) for context in self.contexts]
        pairs = zip(scales, self.contexts, strict=True)
        stop = sum(scale * context.scored.stop_share() for scale, context in pairs if context.start == end)
        known = mixed_sums(scales, [weights for weights, _ in following], [b for _, b in following], stop)
        return ByteShares(known, math.exp(self.pending_log - total), total)

    @property
    def cover_count(self) -> int:
        """Number of `covers`."""
        begun = [1 if c.weights is None else int(np.count_nonzero(c.weights)) for c in self.contexts]
        return sum(begun) + sum(p.start == len(self.text) for p in self.pending)

    def covers(self) -> list[Cover]:
        """Every cover with positive mass, likeliest first. Tokens are counted from the fixed ones."""
        end = len(self.text)
        found = [Cover(p.tokens, p.log_weight, b"") for p in self.pending if p.start == end]
        for context in self.contexts:
            if context.start == end:
                found.append(Cover(context.tokens, context.log_weight, b""))
            found += [
                Cover((*context.tokens, token), context.log_weight + log, overhang)
                for token, log, overhang in context.last_tokens(end)
            ]
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


def _log_sum(pending: Sequence[Pending]) -> float:
    """Natural log of the sum of their weights."""
    most = max([p.log_weight for p in pending], default=-math.inf)
    if most == -math.inf or len(pending) == 1:
        return most
    return most + math.log(sum([math.exp(p.log_weight - most) for p in pending]))
