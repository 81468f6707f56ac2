"""From covers to text with ordinary tokens: the methods that the exact one is compared with.

`exact`, the default, is bytewise (`engine/bytewise.py`). The other methods exist to be compared with
(`bench/cursors.py`): `hand-over` goes on with ordinary tokens once one cover holds nearly everything,
`best-cover` from the single likeliest cover, `heal-one` takes back one token and constrains its
replacement, `naive` feeds the broken token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.bytewise import ByteDecoder, OnText
from engine.covers import CoverSpace, CoverState
from engine.drafts.drafter import Root
from engine.stop import Limits, TextSoFar
from engine.tree import TokenPath
from engine.types import Completion, Cover
from engine.vocab import BoolArray, FloatArray

HAND_OVER_EPSILON = 0.05
"""`hand-over` leaves the bytes when one cover holds at least 1 − this much."""


class Decoder(ByteDecoder[CoverState]):
    """Decodes completions in one prompt of one model, by bytes or by tokens."""

    def __init__(self, space: CoverSpace, limits: Limits, on_text: OnText | None = None) -> None:
        super().__init__(limits, on_text)
        self._space = space

    # -- tokens -----------------------------------------------------------------------------------

    def hand_over(self, state: CoverState) -> Completion:
        """Bytes by exact marginals until one cover holds nearly everything, then greedy tokens."""
        so_far = TextSoFar(self.limits)
        while (reason := so_far.ended) is None:
            cover = next(iter(state.covers()), None)
            if cover and cover.logp - state.log_total >= np.log1p(-HAND_OVER_EPSILON):
                return self._after(state, cover, so_far, _argmax)
            state, run = self._surely(state, so_far)
            so_far.logp += run.logp
            so_far.add(run.text)
            if run.ends or not run:
                reason = "end-of-middle" if run.ends else "deadline"
                break
            state = run.state
        return so_far.completion(reason)

    def best_cover(self, state: CoverState) -> Completion:
        """Greedy tokens after the single likeliest cover."""
        return self._after(state, state.covers()[0], TextSoFar(self.limits), _argmax)

    def sample(self, state: CoverState, temperature: float, seed: int) -> Completion:
        """Draws a cover in proportion to its probability, then canonical tokens at `temperature`.

        At temperature 1 this equals drawing byte by byte from the exact distribution, renormalised over
        canonical texts. The temperature is that of tokens; the cover is drawn at temperature 1.
        """
        random = np.random.default_rng(seed)
        covers = state.covers()
        logs = np.array([cover.logp for cover in covers])
        shares = np.exp(logs - logs.max())
        cover = covers[random.choice(len(covers), p=shares / shares.sum())]

        def draw(row: FloatArray) -> int:
            scaled = row / temperature
            weights = np.exp(scaled - scaled.max())
            return int(random.choice(len(row), p=weights / weights.sum()))

        return self._after(state, cover, TextSoFar(self.limits), draw)

    def heal_one(self, fixed: TokenPath, tail: bytes) -> Completion:
        """One-token healing: the last token is taken back, its replacement must start with its bytes."""
        vocab = self._space.tokenizer.vocab
        tokens = self._space.tokenizer.encode(tail)
        if not tokens:
            return self.naive(fixed, tail)
        head = vocab.token_bytes[tokens[-1]]
        low, high = vocab.prefix_range(head)
        (row,) = self._space.scorer.rows([fixed + tokens[:-1]], self._space.stop)
        healed = int(vocab.order[low:high][row[vocab.order[low:high]].argmax()])
        overhang = vocab.token_bytes[healed][len(head) :]
        cover = Cover((*tokens[:-1], healed), 0.0, overhang)
        return self._continue(fixed, cover, TextSoFar(self.limits), _argmax, canonical=False)

    def naive(self, fixed: TokenPath, tail: bytes) -> Completion:
        """What every other tool does: greedy tokens after encode(tail), broken last token and all."""
        cover = Cover(self._space.tokenizer.encode(tail), 0.0, b"")
        return self._continue(fixed, cover, TextSoFar(self.limits), _argmax, canonical=False)

    def _after(
        self, state: CoverState, cover: Cover, so_far: TextSoFar, choose: Callable[[FloatArray], int]
    ) -> Completion:
        """`_continue` after a cover of `state`, counted from the start of the tail."""
        before_tail = state.fixed[: len(state.fixed) - len(state.settled)]
        cover = replace(cover, tokens=state.settled + cover.tokens)
        return self._continue(before_tail, cover, so_far, choose)

    def _continue(
        self,
        fixed: TokenPath,
        cover: Cover,
        so_far: TextSoFar,
        choose: Callable[[FloatArray], int],
        canonical: bool = True,
    ) -> Completion:
        """Token by token after `cover`, whose overhang comes first."""
        space, tokens = self._space, cover.tokens
        so_far.add(cover.overhang)
        while (reason := so_far.ended) is None:
            if not so_far.may_evaluate():
                reason = "deadline"
                break
            (row,) = space.scorer.rows([fixed + tokens], space.stop, [Root(fixed + tokens)])
            so_far.evaluated()
            row = self._permitted(row, tokens, canonical)
            if row.max() == -np.inf:  # a text that can neither go on nor end here
                reason = "end-of-middle"
                break
            token = choose(row)
            so_far.logp += float(row[token])
            if token in space.stop_tokens:
                reason = "end-of-middle"
                break
            tokens = (*tokens, token)
            so_far.add(space.tokenizer.vocab.token_bytes[token])
            if self._on_text:
                self._on_text(so_far.text)
        return so_far.completion(reason)

    def _permitted(self, row: FloatArray, tokens: TokenPath, canonical: bool) -> FloatArray:
        """`row` with everything ruled out but text tokens (canonical ones if asked) and stops."""
        vocab = self._space.tokenizer.vocab
        permitted: BoolArray = np.zeros(len(row), dtype=bool)
        permitted[vocab.order] = self._space.tokenizer.successors(tokens) if canonical else True
        permitted[self._space.stop_tokens] = not canonical or self._space.tokenizer.may_end(tokens)
        return np.where(permitted, row, -np.inf)


def _argmax(row: FloatArray) -> int:
    return int(row.argmax())
