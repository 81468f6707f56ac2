"""The covers of the bytes read so far, without a model: what reading one byte more leaves of them.

`Frontier` is the definition, in Python to be read (and to run where no compiler was found);
`kernels/native/frontier.h` is the same in C++, and `canon_of` chooses. What covers are, and when the model is
asked: `engine/covers.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from operator import itemgetter
from typing import cast
from weakref import WeakKeyDictionary

import numpy as np

from engine.contexts import Context, Pending, Scored
from engine.kernels import MORE_THAN_HALF, NATIVE, STOP, allowed_rows
from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath
from engine.vocab import FloatArray, IntArray

SCORED_SHARE = 0.9
"""When the model must be asked, the likeliest pending covers that together hold this share are scored."""
LEFT_BEHIND = 0.1
"""Part of its weight that a pending cover behind which something was read counts with there."""


class Canon:
    """The canonical law of one tokenizer and the tokens that end a text."""

    def __init__(self, tokenizer: Tokenizer, stop_tokens: IntArray) -> None:
        self.tokenizer, self.stop_tokens = tokenizer, stop_tokens
        self._verdicts: dict[tuple[TokenPath, bytes], bool] = {}

    def begin(self, settled: TokenPath, text: bytes) -> Frontier:
        """No covers at all of `text`, which stands behind `settled` tokens."""
        return Frontier(self, settled, text)

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
        low, high = vocab.prefix_range(text)
        if not text or allowed_rows(rule, low, high).any():
            return True
        for length in range(len(text) - 1, 0, -1):
            low, high = vocab.exact_range(text[:length], *vocab.prefix_range(text[:length]))
            for row in (low + np.flatnonzero(allowed_rows(rule, low, high))).tolist():
                if self.goes_on((*tokens, int(vocab.order[row])), text[length:]):
                    return True
        return False


class Frontier:
    """The covers of the bytes read so far: scored contexts, and those that are pending. Never changes."""

    def __init__(
        self,
        canon: Canon,
        settled: TokenPath,
        text: bytes,
        contexts: Sequence[Context] = (),
        pending: Sequence[Pending] = (),
        is_open: bool = False,
    ) -> None:
        self._canon, self._settled, self.text = canon, settled, text
        self.contexts, self.pending = tuple(contexts), tuple(pending)
        self.pending_log = log_sum([p.log_weight for p in pending])
        """Natural log of the sum of their weights."""
        self.is_open = is_open
        """Whether it is known to be uncertain what comes next."""

    def _with(self, contexts: Sequence[Context], pending: Sequence[Pending]) -> Frontier:
        return Frontier(self._canon, self._settled, self.text, contexts, pending)

    # -- scoring ----------------------------------------------------------------------------------

    def with_context(self, tokens: TokenPath, start: int, log_weight: float, row: FloatArray) -> Frontier:
        """With the context `tokens`, whose last token starts at `start`.

        `row` (vocab_size,): natural log-probabilities behind it. What ends inside the text is not kept.
        """
        contexts, _ = self._opened(Pending(tokens, start, log_weight), row)
        return self._with([*self.contexts, *contexts], self.pending)

    def with_pending(self, covers: Sequence[tuple[TokenPath, int, float]]) -> Frontier:
        """With these covers pending, too: tokens, start, natural log of their weight."""
        return self._with(self.contexts, [*self.pending, *(Pending(*cover) for cover in covers)])

    def with_rows(self, rows: Sequence[FloatArray]) -> Frontier:
        """The same covers with those that are `worth_scoring` scored, by their rows."""
        return self.with_scored(self.worth_scoring(), rows)

    def with_scored(self, chosen: Sequence[Pending], rows: Sequence[FloatArray]) -> Frontier:
        """The same covers with the `chosen` pending ones scored: contexts, and what ends behind them."""
        contexts, pending = list(self.contexts), [p for p in self.pending if p not in chosen]
        for cover, row in zip(chosen, rows, strict=True):
            rest, ended = self._opened(cover, row)
            contexts += rest
            pending += ended
        return self._with(contexts, pending)

    def _opened(self, cover: Pending, row: FloatArray) -> tuple[list[Context], list[Pending]]:
        """What remains of the context `cover.tokens`, whose row it is, behind all that was read; tokens that
        ended on the way."""
        tokenizer, vocab = self._canon.tokenizer, self._canon.tokenizer.vocab
        scored = Scored(tokenizer, self._settled + cover.tokens, row, self._canon.stop_tokens)
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

    # -- reading ----------------------------------------------------------------------------------

    def push(self, byte: int) -> Frontier:
        """The covers once `byte` has been read."""
        end, contexts, pending = len(self.text) + 1, list[Context](), list(self.pending)
        if not self._canon.tokenizer.vocab.may_start(byte):
            pending = [p for p in pending if p.start < end - 1]
        for context in self.contexts:
            rest, over = context.push(byte, end)
            contexts += [rest] if rest else []
            pending += over
        return Frontier(self._canon, self._settled, self.text + bytes([byte]), contexts, pending)

    def read(self) -> tuple[bytes, bool, float, Frontier | None]:
        """The bytes that certainly come next, whether STOP does behind them, the natural log of the
        probability of all, and the covers behind them.

        The probability is the product of what is known of each, where anything is.

        A symbol is certain if no other can have more: `MORE_THAN_HALF`, or as much as the next one and all
        that is pending. Reading ends behind a newline, behind a byte that is not ASCII, and behind STOP.
        Where nothing is certain, the covers are pruned; None if that was known.
        """
        if self.is_open:
            return b"", False, 0.0, None
        now, text, ends, log = self, b"", False, 0.0
        while not ends and (not text or (text[-1] < 0x80 and text[-1] != ord("\n"))):
            known, unknown = now.shares()
            best = certain_best(known, unknown)
            if best is None and (pruned := now.pruned()):
                now = pruned
                continue
            if best is None:
                now = Frontier(self._canon, self._settled, now.text, now.contexts, now.pending, is_open=True)
                break
            log += math.log(known[best]) if known[best] > 0 else 0.0
            if best == STOP:
                ends = True
            else:
                now, text = now.push(best), text + bytes([best])
        return text, ends, log, now

    # -- what is pending --------------------------------------------------------------------------

    def pruned(self) -> Frontier | None:
        """Without the pending covers that cannot go on with what was read behind them; None if all can."""
        if self.is_open:
            return None
        end, goes_on = len(self.text), self._canon.goes_on
        kept = [
            p
            for p in self.pending
            if p.start == end or goes_on(self._settled + p.tokens, self.text[p.start :])
        ]
        return None if len(kept) == len(self.pending) else self._with(self.contexts, kept)

    def paths(self) -> list[TokenPath]:
        """The tokens of the pending covers that are `worth_scoring`."""
        return [p.tokens for p in self.worth_scoring()]

    def worth_scoring(self) -> Sequence[Pending]:
        """The pending covers that are scored next: the likeliest, which together hold SCORED_SHARE."""
        if len(self.pending) < 2:
            return self.pending
        end, total = len(self.text), self.log_total
        found = [
            (math.exp(p.log_weight - total) * (1.0 if p.start == end else LEFT_BEHIND), p)
            for p in self.pending
        ]
        found.sort(key=itemgetter(0), reverse=True)
        held = list(accumulate(weight for weight, _ in found))
        return [p for _, p in found[: bisect_left(held, SCORED_SHARE * held[-1]) + 1]]

    # -- shares -----------------------------------------------------------------------------------

    @cached_property
    def log_total(self) -> float:
        """Natural log of P(text | fixed tokens), pending covers counted in full."""
        return log_sum([self.pending_log, *(context.log_mass for context in self.contexts)])

    def shares(self) -> tuple[FloatArray, float]:
        """(257,) shares of P(text) known to go on with each byte or STOP, and that of what is pending."""
        known, total, end = np.zeros(STOP + 1), self.log_total, len(self.text)
        if total == -math.inf:
            return known, 0.0
        for context in self.contexts:
            scale = math.exp(context.log_weight - total)
            known[:STOP] += scale * context.next_byte_sums(end)
            if context.start == end:
                known[STOP] += scale * context.scored.stop_share()
        return known, math.exp(self.pending_log - total)


def certain_best(known: FloatArray, unknown: float) -> int | None:
    """The likeliest of the symbols, whose shares are `known` (257,), if what is `unknown` cannot change which
    it is; else None. STOP if nothing can follow at all."""
    best = int(known.argmax())
    most, second = float(known[best]), float(np.delete(known, best).max())
    if most == 0:
        return STOP if unknown == 0 else None
    return best if unknown == 0 or most > MORE_THAN_HALF or most >= second + unknown else None


def log_sum(logs: Sequence[float]) -> float:
    """Natural log of the sum of numbers given by theirs."""
    most = max(logs, default=-math.inf)
    if most == -math.inf or len(logs) == 1:
        return most
    return most + math.log(sum([math.exp(log - most) for log in logs]))


_automata: WeakKeyDictionary[Tokenizer, object] = WeakKeyDictionary()
"""What was found of each tokenizer, for all that is decoded with it."""


def canon_of(tokenizer: Tokenizer, stop_tokens: IntArray) -> Canon:
    """The native twin of `Canon` where it was compiled. `stop_tokens` (n,) end a text."""
    if NATIVE is None:
        return Canon(tokenizer, stop_tokens)
    if (automaton := _automata.get(tokenizer)) is None:
        automaton = _automata[tokenizer] = NATIVE.Automaton(tokenizer)
    return cast(Canon, NATIVE.Canon(tokenizer, stop_tokens, automaton))
