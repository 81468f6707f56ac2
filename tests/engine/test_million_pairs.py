"""A million random pairs of tokens a family: may the second follow the first? Encoding again says.

Left tokens are uniform over those that text can have. Half of the right ones are too; the other half go on as
a longer token does that starts like the left one, so that merges may cross. The fast answer is one row of
`successors` for each left token; the slow one encodes the pair's bytes again, with what could follow them if
that can matter.
"""

from __future__ import annotations

import random

import pytest

from engine.tokenizers.base import Tokenizer
from engine.tokenizers.expressions import EXPRESSIONS
from tests.engine.test_byte_level import vocabulary
from tests.engine.test_known_vocabularies import DEFAULT, NAMES, tokenizer_of

pytestmark = pytest.mark.long
LEFTS, RIGHTS = 4000, 250
TRAINED = sorted(EXPRESSIONS.keys() - {"none", "gpt-2", "starcoder", "qwen2", "llama-3", "deepseek-coder"})
"""Families of which no vocabulary is at hand, or one that others are checked against too."""


def joining(tokenizer: Tokenizer, left: int) -> list[int]:
    """Rows of the tokens that begin what some longer token has behind the bytes of `left`."""
    vocab = tokenizer.vocab
    low, high = vocab.prefix_range(vocab.token_bytes[left])
    rests = {
        vocab.sorted_bytes[row][len(vocab.token_bytes[left]) :] for row in range(low, min(high, low + 400))
    }
    heads = {rest[:end] for rest in rests for end in range(1, len(rest) + 1)}
    found = [vocab.exact_range(head, *vocab.prefix_range(head)) for head in sorted(heads)]
    return [row for start, end in found for row in range(start, end)]


def check(tokenizer: Tokenizer, seed: int) -> tuple[int, int]:
    """Number of pairs, and how many of them are canonical."""
    print(f"seed {seed}")
    rng, vocab = random.Random(seed), tokenizer.vocab
    possible = tokenizer.successors(()).nonzero()[0].tolist()
    pairs = canonical = 0
    for left_row in rng.choices(possible, k=LEFTS):
        left = int(vocab.order[left_row])
        allowed = tokenizer.successors((left,))
        near = joining(tokenizer, left) or possible
        for right_row in (*rng.choices(possible, k=RIGHTS // 2), *rng.choices(near, k=RIGHTS - RIGHTS // 2)):
            right = int(vocab.order[right_row])
            text = vocab.token_bytes[left] + vocab.token_bytes[right]
            expected = tokenizer.encode(text) == (left, right) or tokenizer.is_canonical((left, right))
            assert bool(allowed[right_row]) == expected, (text, left, right)
            pairs, canonical = pairs + 1, canonical + expected
    return pairs, canonical


@pytest.mark.parametrize("name", [*NAMES, pytest.param(DEFAULT, marks=pytest.mark.model)])
def test_a_million_pairs_of_a_real_vocabulary(name: str) -> None:
    pairs, canonical = check(tokenizer_of(name), seed=21)
    print(f"{name}: {pairs} pairs agree, {canonical} of them canonical")
    assert pairs == 1_000_000 and 0 < canonical < pairs


@pytest.mark.parametrize("name", TRAINED)
def test_a_million_pairs_of_a_trained_vocabulary(name: str) -> None:
    pairs, canonical = check(vocabulary(name).tokenizer, seed=22)
    print(f"{name}: {pairs} pairs agree, {canonical} of them canonical")
    assert pairs == 1_000_000 and 0 < canonical < pairs
