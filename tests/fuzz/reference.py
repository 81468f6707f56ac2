"""What answers are compared with: a new engine that knows all, and the law's definition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.backends.base import StopSignal
from engine.backends.fake import random_table
from engine.covers import STOP, CoverSpace, CoverState
from engine.fim import Prompt
from engine.mixing import Mix
from engine.model import Model
from engine.tree import TokenPath
from engine.vocab import FloatArray
from tests.engine.toy_models import resolved
from tests.fuzz.brute import Grammar, Truth, enumerated
from tests.fuzz.worlds import World


@dataclass(frozen=True)
class Known:
    """What may come next, with nothing pending: one model's shares, or several models' mixed by hand."""

    states: tuple[CoverState, ...]
    mix: Mix | None = None

    def push(self, byte: int) -> Known:
        """Once `byte` has been read."""
        return replace(self, states=tuple(resolved(state.push(byte)) for state in self.states))

    def shares(self) -> FloatArray:
        """(257,) by next byte, and stop."""
        if self.mix is None:
            return self.states[0].shares.known
        able = [(w, s) for w, s in zip(self.mix.weights, self.states, strict=True) if s.shares.known.any()]
        total = sum(weight for weight, _ in able)
        parts = [(w / total, s.shares.known / s.shares.known.sum()) for w, s in able]
        if self.mix.rule == "mean":
            return sum((weight * part for weight, part in parts), start=np.zeros(STOP + 1))
        raw = np.prod([part**weight for weight, part in parts], axis=0) * np.ones(STOP + 1) * bool(parts)
        return np.asarray(raw / (raw.sum() or 1.0))


@dataclass(frozen=True)
class Reference:
    """Of one world."""

    world: World

    def rebuilt(self, prompt: Prompt) -> CoverState:
        """The covers of a prompt by a new engine, with nothing pending. Raises InputError."""
        return resolved(self.space(self.world.model()).open(prompt.fixed, prompt.tail))

    def space(self, model: Model) -> CoverSpace:
        """The covers that `model` computes."""
        return CoverSpace(self.world.tokenizer, model.scorer, self.world.stop_tokens, StopSignal())

    def table(self, path: TokenPath) -> FloatArray:
        """(vocab_size,) the model's row after a path."""
        return random_table(self.world.vocab_size, self.world.seed)(path)

    def log_total(self, state: CoverState) -> float:
        """Natural log of P(what `state` has read), counted from the first token."""
        steps = range(1, len(state.fixed))
        return state.shares.log_total + float(sum(self.table(state.fixed[:k])[state.fixed[k]] for k in steps))

    def enumerated(self, text: bytes) -> Truth | None:
        """The law after `text` behind the separator, by the toy's own encoder or the slow definitions."""
        vocab = self.world.tokenizer.vocab
        judge = self.world.toy or self.world.tokenizer
        spelled = [
            piece if row >= 0 else b"" for piece, row in zip(vocab.token_bytes, vocab.row_of, strict=True)
        ]
        stops = frozenset(self.world.stop_tokens)
        grammar = Grammar(tuple(spelled), judge.is_canonical, judge.is_final, stops)
        return enumerated(grammar, self.table, (self.world.separator,), text)
