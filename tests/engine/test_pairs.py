"""Which tokens may stand side by side in one word, against encoding again."""

from __future__ import annotations

import random
from itertools import product

import pytest

from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.pretokenize import Pretokenizer
from engine.vocab import TokenKind, Vocab
from tests.engine.corpus import CODE, TORTURE
from tests.engine.vocabularies import trained


def test_pairs_in_one_word() -> None:
    """Without a pretokenizer two reachable tokens may stand side by side iff they encode back."""
    tokenizer, rng = trained("none", CODE * 3 + TORTURE, merges=250).tokenizer, random.Random(9)
    common = tokenizer.encode(CODE + TORTURE)
    for _ in range(4000):
        left, right = rng.choice(common), rng.choice(common)
        expected = tokenizer.encode(tokenizer.vocab.decode((left, right))) == (left, right)
        assert tokenizer._pairs.is_canonical(left, right) == expected
        row = tokenizer.vocab.row_of[right]
        assert bool(tokenizer._pairs.successors(left)[row]) == expected


def random_merges(rng: random.Random) -> list[tuple[bytes, bytes]]:
    """In the order in which their parts are formed; some tokens have several."""
    texts = [b"a", b"b", b"c"]
    merges: dict[tuple[bytes, bytes], None] = {}
    for _ in range(9):
        left, right = rng.choice(texts), rng.choice(texts)
        merges[left, right] = None
        texts = list(dict.fromkeys([*texts, left + right]))
    return list(merges)


def check_all_pairs(merges: list[tuple[bytes, bytes]]) -> None:
    texts = list(dict.fromkeys([b"a", b"b", b"c", *(left + right for left, right in merges)]))
    number = {text: token for token, text in enumerate(texts)}
    vocab = Vocab(texts, [TokenKind.NORMAL] * len(texts))
    ids = [(number[left], number[right], number[left + right]) for left, right in merges]
    tokenizer = ByteLevelBPE(vocab, ids, Pretokenizer("none"))
    for path in {tokenizer.encode(b"".join(text)) for text in product((b"a", b"b", b"c"), repeat=4)}:
        allowed = tokenizer.successors(path)
        for row, token in enumerate(vocab.order.tolist()):
            assert tokenizer.is_canonical((*path, token)) == bool(allowed[row]), (merges, path, token)


@pytest.mark.parametrize("seed", range(60))
def test_several_merges_for_one_token_are_exact(seed: int) -> None:
    print(f"seed {seed}")
    check_all_pairs(random_merges(random.Random(seed)))


@pytest.mark.parametrize("seed", range(60))
def test_merges_out_of_order_are_exact(seed: int) -> None:
    """Then tokens are formed late: their own rank is less than a part's."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    merges = random_merges(rng)
    rng.shuffle(merges)
    check_all_pairs(merges)
