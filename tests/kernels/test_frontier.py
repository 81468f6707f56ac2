"""The native frontier and its definition: the same covers, whatever is done to them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from engine.frontier import Canon, Frontier
from engine.kernels import STOP
from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath
from engine.vocab import BoolArray, FloatArray, Vocab
from tests.engine.corpus import CODE, STDLIB, TORTURE
from tests.engine.test_byte_level import NAMES, vocabulary
from tests.engine.toys import TOYS

STEPS = 25


class Twins:
    """Two frontiers of the same covers: what is done to one is done to both, and both are compared."""

    def __init__(self, native: Frontier, definition: Frontier) -> None:
        self.native, self.definition = native, definition
        self.compare()

    def compare(self) -> None:
        mine, other = self.native, self.definition
        assert mine.text == other.text and mine.is_open == other.is_open
        assert close(mine.pending_log, other.pending_log) and close(mine.log_total, other.log_total)
        found, expected = (
            sorted((p.tokens, p.start, p.log_weight) for p in f.pending) for f in (mine, other)
        )
        assert [p[:2] for p in found] == [p[:2] for p in expected]
        assert [p[2] for p in found] == pytest.approx([p[2] for p in expected], rel=1e-11)
        assert len(mine.contexts) == len(other.contexts)
        for a, b in zip(mine.contexts, other.contexts, strict=True):
            assert (a.tokens, a.start, a.low, a.high) == (b.tokens, b.start, b.low, b.high)
            assert close(a.log_weight, b.log_weight) and close(a.log_mass, b.log_mass)
            assert (a.weights is None) == (b.weights is None)
            if a.weights is not None and b.weights is not None:
                np.testing.assert_allclose(a.weights, b.weights, rtol=1e-11)
        np.testing.assert_allclose(mine.shares()[0], other.shares()[0], rtol=1e-10, atol=1e-300)
        assert mine.shares()[1] == pytest.approx(other.shares()[1], rel=1e-10)

    def do(self, method: str, *arguments: object) -> Twins:
        return Twins(*(getattr(frontier, method)(*arguments) for frontier in (self.native, self.definition)))

    def read(self) -> tuple[list[int], Twins]:
        text, ends, log, mine = self.native.read()
        expected, other_ends, other_log, other = self.definition.read()
        symbols = [*text, STOP] if ends else [*text]
        assert (text, ends) == (expected, other_ends) and log == pytest.approx(
            other_log, rel=1e-10, abs=1e-12
        )
        if mine is None or other is None:
            assert mine is other
            return symbols, self
        return symbols, Twins(mine, other)

    def pruned(self) -> Twins:
        mine, other = self.native.pruned(), self.definition.pruned()
        assert (mine is None) == (other is None)
        return self if mine is None or other is None else Twins(mine, other)

    def scored(self, rows: Callable[[TokenPath], FloatArray]) -> Twins:
        chosen, others = self.native.worth_scoring(), self.definition.worth_scoring()
        paths = [p.tokens for p in others]
        assert [p.tokens for p in chosen] == paths
        assert self.native.paths() == self.definition.paths() == paths
        found = [rows(path) for path in paths]
        self.do("with_rows", found)
        return Twins(self.native.with_scored(chosen, found), self.definition.with_scored(others, found))


def sorted_pending(frontier: Frontier) -> list[tuple[TokenPath, int, float]]:
    return sorted((p.tokens, p.start, p.log_weight) for p in frontier.pending)


def close(log: float, other: float) -> bool:
    return log == other or abs(log - other) < 1e-9


def begun(
    native: ModuleType, tokenizer: Tokenizer, *stop: int, settled: TokenPath = (), text: bytes = b""
) -> Twins:
    stops = np.array(stop, dtype=np.int64)
    canons = native.Canon(tokenizer, stops, native.Automaton(tokenizer)), Canon(tokenizer, stops)
    return Twins(*(canon.begin(settled, text) for canon in canons))


def random_rows(tokens: int, seed: int, sharpness: float) -> Callable[[TokenPath], FloatArray]:
    """A row for each path; the sharper, the more a few tokens hold."""

    def row(path: TokenPath) -> FloatArray:
        logits = np.random.default_rng([seed, *path]).normal(0, sharpness, tokens)
        return np.asarray(logits - np.logaddexp.reduce(logits))

    return row


def walk(twins: Twins, rows: Callable[[TokenPath], FloatArray], draw: random.Random) -> Counter[str]:
    """What decoding does, in any order."""
    seen = Counter[str]()
    for _ in range(STEPS):
        action = draw.choice(["read", "read", "score", "score", "push", "prune"])
        if action == "read":
            symbols, twins = twins.read()
            seen["several at once" if len(symbols) > 1 else "uncertain" if not symbols else "one"] += 1
            if symbols and symbols[-1] == STOP:
                seen["stop"] += 1
                break
        elif action == "score":
            twins = twins.scored(rows)
        elif action == "prune":
            before = len(twins.definition.pending)
            twins = twins.pruned()
            seen["pruned"] += len(twins.definition.pending) < before
        else:
            known = np.flatnonzero(twins.definition.shares()[0][:STOP])
            byte = int(draw.choice(known)) if len(known) and draw.random() < 0.9 else draw.randrange(256)
            twins = twins.do("push", byte)
            seen["nothing left"] += twins.definition.log_total == -np.inf
    return seen


def test_toys(native: ModuleType) -> None:
    seen = Counter[str]()
    for toy in TOYS.values():
        for seed in range(12):
            rows = random_rows(toy.vocab_size, seed, (0.5, 2.0, 8.0)[seed % 3])
            start = begun(native, toy.tokenizer, toy.stop).do("with_context", (), 0, 0.0, rows(()))
            seen += walk(start, rows, random.Random(seed))
    for what in ("uncertain", "one", "several at once", "pruned", "stop", "nothing left"):
        assert seen[what] > 10, seen


@pytest.mark.parametrize("name", NAMES)
def test_families_of_byte_level_tokenizers(native: ModuleType, name: str) -> None:
    """Behind many contexts of source code and torture texts: what may follow, whether the text may end."""
    tokenizer = vocabulary(name).tokenizer
    vocab = tokenizer.vocab
    stop = next(t for t in range(len(vocab)) if vocab.row_of[t] < 0)
    even, draw = np.full(len(vocab), -np.log(len(vocab))), random.Random(name)
    for text in (CODE, TORTURE, STDLIB[:6000]):
        path = tokenizer.encode(text)
        for _ in range(12):
            at = draw.randrange(len(path) - 12)
            tokens = path[at : at + draw.randrange(1, 12)]
            if not tokenizer.is_canonical(tokens):  # it stood behind something else
                continue
            read = vocab.decode(tokens)
            start = begun(native, tokenizer, stop, text=read)
            opened = start.do("with_context", tokens, len(read), -1.0, even)
            begun(native, tokenizer, stop, settled=tokens).do("with_context", (), 0, -1.0, even)
            beside = [(tokens[:k], len(vocab.decode(tokens[:k])), -2.0) for k in range(len(tokens))]
            opened.do("with_pending", beside).pruned()


class AnySequence:
    """A tokenizer to which every token sequence is canonical, of a vocabulary that is wide at the space."""

    text_start = b""
    missing_bytes = frozenset[int]()
    alone = None
    never: int | None = None
    """The row of a token that is never canonical."""

    def __init__(self, draw: np.random.Generator) -> None:
        letters = b"abcdefghijklmnopqrstuvwxyz" * 3 + bytes(range(0x80, 0xA0)) + b"\n"
        texts = {b" " + bytes(draw.choice(list(letters), n).tolist()) for n in draw.integers(1, 6, 9000)}
        texts |= {bytes([byte]) for byte in letters} | {
            b" ",
            b"  ",
            b"   " * 9,
            b"   " * 9 + b"x",
            b"xyz",
            b"xy",
        }
        self.vocab = Vocab([*sorted(texts), b""], [1] * len(texts) + [3])

    def context_end(self, tokens: TokenPath) -> TokenPath:
        return tokens[-1:]

    def successor_rule(self, tokens: TokenPath) -> BoolArray:
        allowed = np.ones(self.vocab.rows, dtype=np.bool_)
        if self.never is not None:
            allowed[self.never] = False
        return allowed

    def may_end(self, tokens: TokenPath) -> bool:
        return True


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 4.0, 8.0])
def test_a_wide_vocabulary(native: ModuleType, sharpness: float) -> None:
    """Where thousands of tokens begin alike, bytes are read without a look at all of them."""
    tokenizer = AnySequence(np.random.default_rng(0))
    vocab, seen = tokenizer.vocab, Counter[str]()
    low, high = vocab.prefix_range(b" ")
    assert high - low > 4096
    for seed in range(8):
        rows = random_rows(len(vocab), seed, sharpness)
        start = begun(native, tokenizer, len(vocab) - 1).do("with_context", (), 0, 0.0, rows(()))
        pending = start.do("with_pending", [((3,), 0, -9.0)])
        for twins in (start, pending, start.do("with_context", (5,), 0, -1.0, rows((5,)))):
            symbols, behind = twins.read()
            seen["space first"] += symbols[:1] == [ord(" ")]
            seen["two at once"] += len(symbols) > 1 and symbols[0] == ord(" ")
            seen += walk(behind, rows, random.Random(seed))
    assert seen["space first"] and seen["two at once"] and seen["uncertain"], seen


def test_more_than_half_is_certain_whatever_is_pending(native: ModuleType) -> None:
    tokenizer = AnySequence(np.random.default_rng(0))
    vocab = tokenizer.vocab
    row = np.full(len(vocab), -np.inf)
    for text, share in ((b"xyz", 0.45), (b"xy", 0.25), (b"a", 0.1)):
        row[vocab.order[vocab.sorted_bytes.index(text)]] = np.log(share)
    row[-1] = np.log(0.2)
    start = begun(native, tokenizer, len(vocab) - 1).do("with_context", (), 0, 0.0, row)
    for pending, expected in ((0.1, b"xyz"), (0.3, b"xy"), (0.8, b"")):
        twins = start.do("with_pending", [((3,), 0, float(np.log(pending)))])
        assert bytes(twins.read()[0]) == expected, pending


def test_a_stop_token_that_looks_like_text_is_a_stop(native: ModuleType) -> None:
    """No text is canonical with it, so what it holds is not its bytes'."""
    tokenizer = AnySequence(np.random.default_rng(0))
    vocab = tokenizer.vocab
    tokenizer.never = vocab.sorted_bytes.index(b"xyz")
    row = np.full(len(vocab), -np.inf)
    for text, share in ((b"xyz", 0.5), (b"xy", 0.35), (b"a", 0.15)):
        row[vocab.order[vocab.sorted_bytes.index(text)]] = np.log(share)
    start = begun(native, tokenizer, len(vocab) - 1, int(vocab.order[tokenizer.never]))
    assert start.do("with_context", (), 0, 0.0, row).read()[0] == [STOP]


def test_what_does_not_fit_is_refused(native: ModuleType) -> None:
    toy = TOYS["chain"]
    mine = begun(native, toy.tokenizer, toy.stop, text=b"a").native
    row = np.log(np.full(toy.vocab_size, 1 / toy.vocab_size))
    with pytest.raises(ValueError, match="no such token"):
        mine.with_context((99,), 1, 0.0, row)
    with pytest.raises(ValueError, match="starts behind"):
        mine.with_context((0,), 2, 0.0, row)
    with pytest.raises(ValueError, match="no byte"):
        mine.push(256)
    with pytest.raises(ValueError, match="differ in number"):
        mine.with_pending([((0,), 1, 0.0)]).with_scored((), [row])
    with pytest.raises(ValueError, match="outside"):
        mine.with_context((), 0, 0.0, row[:1])
    with pytest.raises(ValueError, match="NaN"):
        mine.with_context((), 0, 0.0, np.full(toy.vocab_size, np.nan))
