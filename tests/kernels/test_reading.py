"""Reading bytes while it is certain which one comes next: the native kernel and its definition."""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import numpy as np
import pytest

from engine.vocab import Vocab
from engine_kernels import numpy_reference as reference
from engine_kernels.numpy_reference import STOP, Open, Surely

ALPHABETS = (b"ab", b"a\n", b"ab\xc3\xa9")
STARTLESS = ord("z")
"""A byte that no token starts with."""


def random_vocab(random: np.random.Generator) -> Vocab:
    alphabet = ALPHABETS[random.integers(len(ALPHABETS))]
    lengths = random.choice([1, 1, 2, 3, 4, 25, 26], 30)
    texts = {bytes(random.choice(list(alphabet), length).tolist()) for length in lengths}
    texts |= {bytes([byte]) for byte in alphabet} | {bytes([alphabet[0], STARTLESS])}
    control = random.integers(1, 4)
    tokens = [*sorted(texts, key=lambda _: random.random()), *[b""] * control]
    return Vocab(tokens, [1] * len(texts) + [3] * control)


def never_asked() -> float:
    raise AssertionError("the last token has begun")


def random_context(vocab: Vocab, random: np.random.Generator) -> Open:
    """One whose last token is not begun, or is begun by some bytes of a token."""
    sharpness = random.choice([0.1, 1, 5, 30])
    logits = random.normal(0, sharpness, (1, len(vocab))).astype(np.float32)
    logits[0, -1] += random.choice([0, 2])  # no text
    row = reference.log_softmax(logits)[0]
    allowed = random.random(vocab.rows) < 0.9
    log_weight = float(random.normal(-5, 2))
    if random.random() < 0.5:
        others = np.setdiff1d(np.arange(len(vocab)), vocab.order)
        stop_share = float(np.exp(row[others]).sum() * random.choice([0, 0.5, 1]))
        sums = reference.sums_of_groups(row, vocab.order, allowed, vocab.first_byte_starts)
        known = sums if random.random() < 0.7 else None
        return Open(log_weight, 0, 0, vocab.rows, None, row, allowed, known, lambda: stop_share)
    token = vocab.sorted_bytes[random.integers(vocab.rows)]
    head = token[: random.integers(1, len(token) + 1)]
    low, high = vocab.prefix_range(head)
    _, low = vocab.exact_range(head, low, high)
    weights = reference.sorted_weights(row, vocab.order[low:high], allowed[low:high])
    return Open(log_weight, len(head), low, high, weights, row, allowed, None, 0.0)


def is_useful(context: Open) -> bool:
    return context.weights is None or context.weights.sum() > 0


def assert_alike(found: Surely, expected: Surely) -> None:
    symbols, shares, contexts, ended, pending_log, is_open, sums = found
    assert symbols == expected.symbols and is_open == expected.is_open
    assert shares == pytest.approx(expected.shares, rel=1e-11)
    assert pending_log == pytest.approx(expected.pending_log, rel=1e-11, abs=1e-11)
    assert [c[:3] for c in contexts] == [c[:3] for c in expected.contexts]
    for mine, other in zip(contexts, expected.contexts, strict=True):
        np.testing.assert_allclose(mine[3], other[3], rtol=1e-12)
        assert mine[4] == pytest.approx(other[4], rel=1e-11)
    assert [number for number, _ in sums] == [number for number, _ in expected.sums]
    for (_, one), (_, other) in zip(sums, expected.sums, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert [e[:3] for e in sorted(ended)] == [e[:3] for e in sorted(expected.ended)]
    logs = [[log for *_, log in sorted(some)] for some in (ended, expected.ended)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-11)


def test_it_reads_what_its_definition_reads(native: ModuleType) -> None:
    """Random worlds, in which every way to stop was seen."""
    seen: Counter[str] = Counter()
    for seed in range(1000):
        random = np.random.default_rng(seed)
        vocab = random_vocab(random)
        drawn = [random_context(vocab, random) for _ in range(random.integers(0, 4))]
        contexts = [context for context in drawn if is_useful(context)]
        pending_log = float(random.choice([-np.inf, -30, -8, -4]))
        found = native.read_surely(vocab.tables, contexts, pending_log)
        expected = reference.read_surely(vocab.tables, contexts, pending_log)
        assert_alike(found, expected)
        seen.update(what_was_seen(expected, contexts, vocab))
    for what in ("sums", "open", "several", "ended", "newline", "accent", "stop", "startless", "deep"):
        assert seen[what], (what, seen)


def what_was_seen(found: Surely, contexts: list[Open], vocab: Vocab) -> list[str]:
    symbols = found.symbols
    deepest = max((c.depth for c in contexts), default=0) + len(symbols)
    is_blocked = not found.is_open and (not symbols or (symbols[-1] < 0x80 and symbols[-1] != 10))
    seen = {
        "sums": bool(found.sums),
        "open": found.is_open,
        "several": len(symbols) > 1,
        "ended": bool(found.ended),
        "newline": symbols[-1:] == [10],
        "accent": bool(symbols) and 0x80 <= symbols[-1] < STOP,
        "stop": symbols[-1:] == [STOP],
        "startless": is_blocked and deepest < len(vocab.tables.columns),
        "deep": is_blocked and deepest >= len(vocab.tables.columns),
    }
    return [what for what, was in seen.items() if was]


def test_more_than_half_is_certain_whatever_is_pending(native: ModuleType) -> None:
    vocab = Vocab([b"ab", b"ac", b"b", b""], [1, 1, 1, 3])
    row = np.log([0.6, 0.1, 0.1, 0.2])
    context = Open(0.0, 0, 0, vocab.rows, None, row, np.ones(vocab.rows, dtype=bool), None, lambda: 0.0)
    for kernels in (native, reference):
        symbols, shares, *_, is_open, sums = kernels.read_surely(vocab.tables, [context], np.log(0.1))
        assert bytes(symbols) == b"ab" and is_open and not sums
        assert shares == pytest.approx([0.7 / 1.1, 0.6 / 0.8])
        # 0.6 is less than half of 1.3, 0.7 is more.
        assert bytes(kernels.read_surely(vocab.tables, [context], np.log(0.3))[0]) == b"ab"
        *_, ((number, sums),) = kernels.read_surely(vocab.tables, [context], np.log(0.5))
        assert number == 0 and sums[ord("a")] == pytest.approx(0.7) and sums.sum() == pytest.approx(0.8)


def test_tables_that_do_not_fit_are_refused(native: ModuleType) -> None:
    vocab = Vocab([b"a", b"b"], [1, 1])
    row, allowed = np.log([0.5, 0.5]), np.ones(2, dtype=bool)
    good = Open(0.0, 0, 0, 2, None, row, allowed, None, lambda: 0.0)
    for bad in (
        good._replace(high=3),
        good._replace(allowed=np.ones(3, dtype=bool)),
        good._replace(depth=1, weights=np.ones(1)),
        good._replace(first_byte_sums=np.ones(255)),
    ):
        with pytest.raises(ValueError, match=r"vocabulary|length|256"):
            native.read_surely(vocab.tables, [bad], -np.inf)
