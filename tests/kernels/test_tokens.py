"""The native kernels on tokens: masks and merges, bit for bit."""

from __future__ import annotations

import random
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.tokenizers.bpe import MergeTable
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.pretokenize import Pretokenizer
from engine.vocab import TokenKind, Vocab
from engine_kernels import numpy_reference as reference
from engine_kernels.numpy_reference import TOKEN_FIELDS, SuccessorRule
from tests.engine.corpus import CODE, TORTURE
from tests.engine.vocabularies import trained


@settings(deadline=None)
@given(st.data())
def test_choose_tokens(native: ModuleType, data: st.DataObject) -> None:
    verdicts = data.draw(arrays(np.int8, st.integers(1, 20), elements=st.integers(0, 2)))
    groups = data.draw(arrays(np.int16, st.integers(0, 100), elements=st.integers(0, len(verdicts) - 1)))
    free, reachable = (data.draw(arrays(np.bool_, len(groups))) for _ in range(2))
    found = native.choose_tokens(verdicts, groups, free, reachable)
    np.testing.assert_array_equal(found, reference.choose_tokens(verdicts, groups, free, reachable))
    assert found.dtype == np.bool_


@pytest.mark.parametrize(
    ("verdicts", "groups", "said"),
    [([0, 1], [0, 2], "no verdict"), ([0, 1], [0, -1], "no verdict"), ([0, 3], [0, 1], "not 0, 1 or 2"),
     ([0, -1], [0, 1], "not 0, 1 or 2"), ([0], [0], "length"), ([], [0, 0], "no verdict")],
)  # fmt: skip
def test_bad_groups_are_refused(
    native: ModuleType, verdicts: list[int], groups: list[int], said: str
) -> None:
    flags = np.ones(2, dtype=bool)
    arguments = np.array(verdicts, dtype=np.int8), np.array(groups, dtype=np.int16), flags, flags
    for kernels in (native, reference):
        with pytest.raises(ValueError, match=said):
            kernels.choose_tokens(*arguments)


def late_tokenizer(seed: int) -> ByteLevelBPE:
    """Merges in random order, so that tokens are formed late."""
    rng = random.Random(seed)
    texts, merges = [b"a", b"b", b"c"], {}
    for _ in range(14):
        left, right = rng.choice(texts), rng.choice(texts)
        merges[left, right] = None
        texts = list(dict.fromkeys([*texts, left + right]))
    pairs = list(merges)
    rng.shuffle(pairs)
    number = {text: token for token, text in enumerate(texts)}
    ids = [(number[left], number[right], number[left + right]) for left, right in pairs]
    return ByteLevelBPE(Vocab(texts, [TokenKind.NORMAL] * len(texts)), ids, Pretokenizer("none"))


def assert_same_pairs(native: ModuleType, tokenizer: ByteLevelBPE) -> None:
    forest, rows = tokenizer._pairs.forest, tokenizer.vocab.rows
    for left in range(len(tokenizer.vocab)):
        expected = reference.pair_mask(left, forest, rows)
        np.testing.assert_array_equal(native.pair_mask(left, forest, rows), expected)


def test_successor_masks(native: ModuleType) -> None:
    """Of ranges that hold few doubtful rows and many, and of single rows."""
    tokenizer, random_ = late_tokenizer(3), np.random.default_rng(0)
    forest, rows = tokenizer._pairs.forest, tokenizer.vocab.rows
    for left in range(-1, len(tokenizer.vocab)):
        free = reference.pair_mask(left, forest, rows) if left >= 0 else [True] * rows
        for _ in range(5):
            verdicts = random_.integers(0, 3, rows).astype(np.int8)
            expected = [bool(v == 2 or (v == 1 and may)) for v, may in zip(verdicts, free, strict=True)]
            rule = SuccessorRule(verdicts, left, forest)
            low, high = sorted(random_.integers(0, rows + 1, 2).tolist())
            for kernels in (native, reference):
                for first, end in [(0, rows), (low, high), *pairwise(range(rows))]:
                    for found in (
                        kernels.successor_mask(rule, first, end),
                        kernels.allowed_rows(rule, first, end),
                    ):
                        assert found.dtype == np.bool_ and found.tolist() == expected[first:end]
                    assert (
                        kernels.allowed_rows(np.array(expected), first, end).tolist() == expected[first:end]
                    )


@pytest.mark.parametrize(
    ("verdicts", "left", "high", "said"),
    [([0, 3], 0, 2, "not 0, 1 or 2"), ([0, -1], -1, 2, "not 0, 1 or 2"), ([0, 1], 0, 3, "outside"),
     ([0, 1], 10**6, 2, "no such left token"), ([1] * 5, 10**6, 5, "no such left token")],
)  # fmt: skip
def test_bad_rules_are_refused(
    native: ModuleType, verdicts: list[int], left: int, high: int, said: str
) -> None:
    rule = SuccessorRule(np.array(verdicts, dtype=np.int8), left, late_tokenizer(0)._pairs.forest)
    for kernels in (native, reference):
        with pytest.raises(ValueError, match=said):
            kernels.successor_mask(rule, 0, high)


def test_single_pairs(native: ModuleType) -> None:
    """Asked for one by one they are what the masks say, late tokens among them."""
    for seed in range(60):
        tokenizer = late_tokenizer(seed)
        forest, rows = tokenizer._pairs.forest, tokenizer.vocab.rows
        for left in range(len(tokenizer.vocab)):
            rule = SuccessorRule(np.ones(rows, dtype=np.int8), left, forest)
            found = [bool(native.successor_mask(rule, row, row + 1)[0]) for row in range(rows)]
            assert found == reference.pair_mask(left, forest, rows).tolist(), (seed, left)


def test_pair_masks_of_late_tokens(native: ModuleType) -> None:
    late = 0
    for seed in range(150):
        tokenizer = late_tokenizer(seed)
        late += int(tokenizer._pairs.forest.tokens[:, TOKEN_FIELDS.index("has_late_child")].sum())
        assert_same_pairs(native, tokenizer)
    assert late > 50


def test_pair_masks_of_a_trained_vocabulary(native: ModuleType) -> None:
    assert_same_pairs(native, trained("none", CODE * 3 + TORTURE, merges=250).tokenizer)


@pytest.mark.parametrize("left", [-1, 10**6])
def test_a_left_token_that_is_none_is_refused(native: ModuleType, left: int) -> None:
    forest = late_tokenizer(0)._pairs.forest
    for kernels in (native, reference):
        with pytest.raises(ValueError, match="no such left token"):
            kernels.pair_mask(left, forest, 3)


def by_definition(symbols: list[int], ranks: dict[tuple[int, int], tuple[int, int]]) -> list[int]:
    """BPE with a dictionary: the least rank, leftmost first."""
    while found := [(ranks[pair][0], k) for k, pair in enumerate(pairwise(symbols))
                    if pair in ranks]:  # fmt: skip
        _, k = min(found)
        symbols = [*symbols[:k], ranks[symbols[k], symbols[k + 1]][1], *symbols[k + 2 :]]
    return symbols


@settings(deadline=None)
@given(st.data())
def test_merge_symbols(native: ModuleType, data: st.DataObject) -> None:
    token = st.integers(0, 6)
    merges = data.draw(st.lists(st.tuples(token, token, token), max_size=12, unique_by=lambda m: m[:2]))
    ranks = data.draw(st.lists(st.integers(0, 5), min_size=len(merges), max_size=len(merges)))
    symbols = data.draw(st.lists(token, max_size=14))
    table = MergeTable(np.array(merges, dtype=np.int64).reshape(-1, 3), np.array(ranks, dtype=np.int64))
    arguments = np.array(symbols, dtype=np.int32), table._keys, table._ranks, table._merged
    expected = by_definition(
        symbols, {(left, right): (rank, to) for (left, right, to), rank in zip(merges, ranks, strict=True)}
    )
    for kernels in (native, reference):
        found = kernels.merge_symbols(*arguments)
        assert found.dtype == np.int32 and found.tolist() == expected


def test_long_words_merge_alike(native: ModuleType) -> None:
    tokenizer = trained("none", CODE * 3 + TORTURE, merges=250).tokenizer
    table = tokenizer._merges
    symbols = np.array([tokenizer._symbols[byte] for byte in CODE * 2], dtype=np.int32)
    arguments = symbols, table._keys, table._ranks, table._merged
    np.testing.assert_array_equal(native.merge_symbols(*arguments), reference.merge_symbols(*arguments))
