"""Toy models: random conditional tables over toy vocabularies, and the law by exhaustive enumeration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend, Table, random_table
from engine.cache import Scorer
from engine.covers import STOP, CoverSpace, CoverState
from engine.fim import Template
from engine.model import Model
from engine.tree import TokenPath, TokenTree
from engine.vocab import FloatArray
from tests.engine.toy_families import Toy


@dataclass(frozen=True)
class Enumeration:
    """The law by its definition: every cover of a text with its probability."""

    covers: dict[TokenPath, float]
    log_total: float
    shares: FloatArray
    """(257,) of P(text): by next byte, and stop."""


def enumerate_law(toy: Toy, table: Table, fixed: TokenPath, text: bytes, law: str) -> Enumeration:
    """All covers of `text` behind `fixed`, found by trying every token at every place."""
    covers: dict[TokenPath, float] = {}

    def extend(path: TokenPath, read: bytes, logp: float) -> None:
        if len(read) >= len(text):
            if law == "all" or toy.is_canonical(path):
                covers[path] = float(np.exp(logp))
            return
        row = table(fixed + path)
        for token, piece in enumerate(toy.texts):
            new = read + piece
            if new[: len(text)] == text[: len(new)]:
                extend((*path, token), new, logp + row[token])

    extend((), b"", 0.0)
    next_mass = np.zeros(STOP + 1)
    for path, mass in covers.items():
        read = b"".join(toy.texts[t] for t in path)
        if len(read) > len(text):
            next_mass[read[len(text)]] += mass
            continue
        row = np.exp(table(fixed + path))
        if law == "all" or toy.is_final(path):
            next_mass[STOP] += mass * row[toy.stop]
        for token, piece in enumerate(toy.texts):
            if law == "all" or toy.is_canonical((*path, token)):
                next_mass[piece[0]] += mass * row[token]
    total = sum(covers.values())
    return Enumeration(covers, float(np.log(total)), next_mass / total)


def _remembered(table: Table) -> Table:
    """`table` with its rows kept, and read-only as nobody may change a model's answer."""

    @cache
    def row(path: TokenPath) -> FloatArray:
        logs = table(path)
        logs.flags.writeable = False
        return logs

    return row


class CountingBackend(FakeBackend):
    """Counts the contexts it was asked about: what a cache has not answered."""

    contexts = 0

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        self.contexts += len(wanted)
        return super().score(context, tree, wanted, stop)


@dataclass(frozen=True)
class ToyModel:
    """A toy vocabulary with random conditional tables."""

    toy: Toy
    table: Table

    @classmethod
    def random(cls, toy: Toy, seed: int) -> ToyModel:
        return cls(toy, _remembered(random_table(toy.vocab_size, seed)))

    @classmethod
    def canonical(cls, toy: Toy, seed: int) -> ToyModel:
        """One that gives mass to canonical continuations only."""
        free = random_table(toy.vocab_size, seed)

        def row(path: TokenPath) -> FloatArray:
            logs = free(path).copy()
            text = tuple(t for t in path if t < toy.stop)
            for token in range(len(toy.texts)):
                if not toy.is_canonical((*text, token)):
                    logs[token] = -np.inf
            logs[toy.separator] = -np.inf
            return np.asarray(logs - np.log(np.exp(logs).sum()))

        return cls(toy, _remembered(row))

    def backend(self) -> CountingBackend:
        """A new one, so that evaluations are counted from 0."""
        return CountingBackend(self.table, self.toy.vocab_size)

    def space(self) -> CoverSpace:
        return CoverSpace(self.toy.tokenizer, Scorer(self.backend()), [self.toy.stop], StopSignal())

    def open(self, text: bytes) -> CoverState:
        """Covers of `text` behind the separator, nothing put before it."""
        return self.space().open((self.toy.separator,), text)

    def engine_model(self, template: Template) -> Model:
        """What a `Completer` needs, on a new backend."""
        toy = self.toy
        return Model("toy", toy.tokenizer, Scorer(self.backend()), template, (toy.stop,), toy.separator)

    def log_probability(self, path: TokenPath) -> float:
        """Of the tokens behind the separator that `path` starts with."""
        return float(sum(self.table(path[:k])[path[k]] for k in range(1, len(path))))

    def log_total(self, state: CoverState) -> float:
        """Natural log of P(what `state` has read), counted from the separator."""
        return self.log_probability(state.fixed) + state.shares.log_total


def resolved(state: CoverState) -> CoverState:
    """The same covers with nothing pending."""
    while state.pending:
        state = state.resolve(state.pending)
    return state
