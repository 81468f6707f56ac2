"""Toy models small enough to enumerate: at most 8 text tokens, a stop token and a separator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend, Table, random_table
from engine.cache import Scorer
from engine.covers import STOP, CoverSpace, CoverState
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tree import TokenPath
from engine.vocab import FloatArray, TokenKind, Vocab


@dataclass(frozen=True)
class Toy:
    """A vocabulary: single bytes, then one token for each merge (left bytes, right bytes)."""

    alphabet: tuple[bytes, ...]
    merges: tuple[tuple[bytes, bytes], ...]
    pretokenizer: str = "none"

    @cached_property
    def texts(self) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys([*self.alphabet, *(a + b for a, b in self.merges)]))

    @property
    def stop(self) -> int:
        return len(self.texts)

    @property
    def separator(self) -> int:
        return len(self.texts) + 1

    @property
    def vocab_size(self) -> int:
        return len(self.texts) + 2

    @cached_property
    def tokenizer(self) -> ByteLevelBPE:
        kinds = [TokenKind.NORMAL] * len(self.texts) + [TokenKind.CONTROL] * 2
        number = {text: token for token, text in enumerate(self.texts)}
        merges = [(number[a], number[b], number[a + b]) for a, b in self.merges]
        return ByteLevelBPE(Vocab([*self.texts, b"", b""], kinds), merges, Pretokenizer(self.pretokenizer))

    def strings(self, longest: int) -> Iterator[bytes]:
        """Every string of 1 to `longest` symbols of the alphabet."""
        for length in range(1, longest + 1):
            yield from map(b"".join, itertools.product(self.alphabet, repeat=length))

    def encode(self, text: bytes) -> TokenPath:
        """BPE by its definition: in each word the leftmost pair of least rank, again and again.

        `text` may not end inside a character.
        """
        rank = {pair: number for number, pair in reversed(list(enumerate(self.merges)))}
        path: list[int] = []
        for word in Pretokenizer(self.pretokenizer).split(text.decode("utf-8", "surrogateescape")):
            raw = word.encode("utf-8", "surrogateescape")
            parts = [raw[i : i + 1] for i in range(len(raw))]
            while ranks := [(rank[p], i) for i, p in enumerate(itertools.pairwise(parts)) if p in rank]:
                _, i = min(ranks)
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
            path += [self.texts.index(part) for part in parts]
        return tuple(path)

    def is_final(self, path: TokenPath) -> bool:
        """Whether a text may consist of these tokens."""
        return _encode(self, b"".join(self.texts[t] for t in path)) == path

    def is_canonical(self, path: TokenPath) -> bool:
        """Whether a text may start with these tokens: tried with all short texts behind them."""
        return self.is_final(path) or (self.pretokenizer != "none" and _begins_a_text(self, path))


@cache
def _encode(toy: Toy, text: bytes) -> TokenPath:
    return toy.encode(text)


@cache
def _begins_a_text(toy: Toy, path: TokenPath) -> bool:
    text = b"".join(toy.texts[t] for t in path)
    return any(_encode(toy, text + more)[: len(path)] == path for more in toy.strings(2))


TOYS = {
    "chain": Toy((b"a", b"b", b"c"), ((b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"a"))),
    "late parts": Toy((b"a", b"b"), ((b"b", b"a"), (b"a", b"b"), (b"ab", b"ab"), (b"ba", b"b"))),
    "runs": Toy((b"a", b"b"), ((b"a", b"a"), (b"aa", b"aa"), (b"aaaa", b"b"), (b"b", b"b"))),
    "nested": Toy((b"a", b"b", b"c"), ((b"b", b"c"), (b"a", b"bc"), (b"abc", b"a"), (b"c", b"a"))),
    "no merges": Toy((b"a", b"b", b"c"), ()),
    "gpt-2": Toy(
        (b"a", b"s", b" ", b"'", b"1"), ((b"'", b"s"), (b" ", b"a"), (b"a", b"s")), pretokenizer="gpt-2"
    ),
    "starcoder": Toy((b"a", b" ", b"\n", b"1"), ((b" ", b" "), (b"\n", b" "), (b"1", b"1")), "starcoder"),
    "qwen2": Toy((b"s", b" ", b"\n", b"'"), ((b" ", b" "), (b"\n", b"\n"), (b"'", b"s")), "qwen2"),
}
"""Under "starcoder" the merge of two digits, and under "gpt-2" none, is unreachable."""


@dataclass(frozen=True)
class Enumeration:
    """The law by its definition: every cover of a text with its probability."""

    covers: dict[TokenPath, float]
    log_total: float
    shares: FloatArray
    """(257,) of P(text): by next byte, and stop."""
    exact: tuple[TokenPath, ...]


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
    exact = tuple(path for path in covers if sum(len(toy.texts[t]) for t in path) == len(text))
    for path, mass in covers.items():
        if path not in exact:
            next_mass[b"".join(toy.texts[t] for t in path)[len(text)]] += mass
            continue
        row = np.exp(table(fixed + path))
        if law == "all" or toy.is_final(path):
            next_mass[STOP] += mass * row[toy.stop]
        for token, piece in enumerate(toy.texts):
            if law == "all" or toy.is_canonical((*path, token)):
                next_mass[piece[0]] += mass * row[token]
    total = sum(covers.values())
    return Enumeration(covers, float(np.log(total)), next_mass / total, exact)


def _remembered(table: Table) -> Table:
    """`table` with its rows kept, and read-only as nobody may change a model's answer."""

    @cache
    def row(path: TokenPath) -> FloatArray:
        logs = table(path)
        logs.flags.writeable = False
        return logs

    return row


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

    def space(self) -> CoverSpace:
        """A new space on a new backend, so that evaluations are counted from 0."""
        backend = FakeBackend(self.table, self.toy.vocab_size)
        return CoverSpace(self.toy.tokenizer, Scorer(backend), [self.toy.stop], StopSignal())

    def open(self, text: bytes) -> CoverState:
        return self.space().open((self.toy.separator,), text)

    def log_probability(self, path: TokenPath) -> float:
        """Of the tokens behind the separator that `path` starts with."""
        return float(sum(self.table(path[:k])[path[k]] for k in range(1, len(path))))


def resolved(state: CoverState) -> CoverState:
    """The same covers with nothing pending."""
    while state.pending:
        state = state.resolve(state.pending)
    return state
