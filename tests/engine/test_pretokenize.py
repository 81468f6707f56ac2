"""Attempts to refute what `shapes`, `followers` and `stable_words` claim of each family's expressions.

Texts are drawn from few characters, at least one of each atom, so that short random texts reach every rule.
"""

from __future__ import annotations

import random

import pytest
import regex

from engine.tokenizers.expressions import EXPRESSIONS, GGUF_NAMES, IGNORE_MERGES
from engine.tokenizers.pretokenize import Pretokenizer

CHARACTERS = (
    "aAsStTrReElLvVmMdD01 \n\r\t'.!/+=<`_\u00e9\u00c9\u01c5\u02b0\u00aa\u10a0\u4f60\u3042\u30fc\ud55c\u0301"
    "\u00bd\u0661\u0966\u300a\u3002\uff01\u00ac\u00a3\u2028\u00a0\u3000\u2603\u3040\u3099\u309b\U0001d538"
    "\U0001f642\u0e33\ue001\udcff"
)
ROUNDS = 4000


@pytest.fixture(params=sorted(EXPRESSIONS))
def family(request: pytest.FixtureRequest) -> Pretokenizer:
    return Pretokenizer(request.param)


def alphabet(family: Pretokenizer) -> str:
    """One character of each atom."""
    return "".join({family.shapes.atoms_of(char): char for char in CHARACTERS}.values())


def some_text(rng: random.Random, letters: str, longest: int) -> str:
    """Random characters, some of them repeated; half of the texts use a few characters only."""
    few = rng.sample(letters, min(4, len(letters))) if rng.random() < 0.5 else letters
    text = ""
    for _ in range(rng.randrange(longest)):
        text += rng.choice(few) * rng.choice((1, 1, 1, 1, 2, 3, 7))
    return text


def inner(family: Pretokenizer, text: str, end: int) -> list[int]:
    """The cuts of `text` before `end`."""
    return [cut for cut in family.cuts(text) if cut < end]


def one_of_each_kind(family: Pretokenizer) -> str:
    """Of Unicode's first planes: the first character of each that the family's sets tell apart.

    The sets go over the planes one by one: asking them of each character takes ten times as long.
    """
    planes = "".join(map(chr, range(0x20000)))
    kinds = [0] * len(planes)
    for bit, expression in enumerate(family.shapes._sets):
        for match in regex.finditer(expression, planes):
            kinds[match.start()] |= 1 << bit
    return "".join(dict(zip(reversed(kinds), reversed(planes), strict=True)).values())


def test_every_atom_has_a_character(family: Pretokenizer) -> None:
    """Or the other tests would miss it: all of Unicode's first planes."""
    letters, found = set(family.shapes.atoms_of(alphabet(family))), one_of_each_kind(family)
    assert len(found) >= len(letters)
    missing = {c for c in family.shapes.atoms_of(found) if c not in letters}
    rare = {c for c in missing if c in "\u017f"}  # a long s: contractions fold case, tokenizers have no such
    assert missing == rare, [hex(ord(c)) for c in missing]


def test_the_shape_of_context_and_token_is_cut_like_them(family: Pretokenizer) -> None:
    rng, letters = random.Random(1), alphabet(family)
    for _ in range(ROUNDS):
        context, token = some_text(rng, letters, 7), some_text(rng, letters, 4)
        shape, positions = family.shapes.context_shape(context)
        reached = family.shapes.reaches_on(shape)
        (token_shape,) = family.shapes.word_shapes([token], reached=reached)
        both = family.cuts(context + token)[:-1]
        reduced = family.cuts(shape + token_shape)[:-1]
        inside = bool(both) and both[-1] > len(context)
        assert inside == (bool(reduced) and reduced[-1] > len(shape)), (context, token)
        if not inside:
            mapped = [positions[cut] for cut in reduced]
            assert set(mapped) <= set(both) and (len(context) in mapped) == (len(context) in both)
            hidden = set(both) - set(mapped)
            assert not hidden & set(positions), (context, token, hidden)
            assert not hidden, (context, token, hidden)


def test_what_follows_matters_only_where_it_is_said_to(family: Pretokenizer) -> None:
    rng, letters = random.Random(2), alphabet(family)
    for _ in range(ROUNDS):
        text, more = some_text(rng, letters, 7), some_text(rng, letters, 5)
        found = inner(family, text + more, len(text))
        if found != inner(family, text, len(text)):
            ways = [inner(family, text + follower, len(text)) for follower in family.followers(text)]
            assert found in ways, (text, more)


def test_only_the_last_words_can_be_cut_otherwise(family: Pretokenizer) -> None:
    rng, letters = random.Random(3), alphabet(family)
    for _ in range(ROUNDS):
        text, more = some_text(rng, letters, 9), some_text(rng, letters, 5)
        words = family.split(text)
        stable = words[: family.stable_words(words)]
        assert family.split(text + more)[: len(stable)] == stable, (text, more)


def test_a_text_cut_before_its_last_words_is_cut_alike_there(family: Pretokenizer) -> None:
    """What `successors` needs: the beginning of a long context does not matter."""
    rng, letters = random.Random(4), alphabet(family)
    for _ in range(ROUNDS):
        text = some_text(rng, letters, 9)
        words = family.split(text)
        for start in range(1, family.stable_words(words)):
            end = words[start:]
            assert family.split("".join(end)) == end, text


def test_names_lead_to_expressions() -> None:
    assert set(GGUF_NAMES.values()) | {"none"} == set(EXPRESSIONS)
    assert GGUF_NAMES.keys() >= IGNORE_MERGES


def test_a_folded_text_is_cut_like_the_text_and_as_stable(family: Pretokenizer) -> None:
    rng, letters = random.Random(41), alphabet(family)
    for _ in range(ROUNDS):
        text = some_text(rng, letters, 8)
        assert family.cuts(family.shapes.folded(text)) == family.cuts(text)
        words = family.split(text)
        stable = family.stable_words(words)
        assert family.stable_part(text) == (stable, len("".join(words[:stable])))
    assert family.shapes.folded("read") == family.shapes.folded("stem") == "aaaa"


def test_stable_words_may_be_left_out(family: Pretokenizer) -> None:
    rng, letters = random.Random(4), alphabet(family)
    for _ in range(ROUNDS):
        text, more = some_text(rng, letters, 9), some_text(rng, letters, 5)
        words = family.split(text)
        stable = family.stable_words(words)
        rest = "".join(words[stable:])
        assert family.split(text + more)[stable:] == family.split(rest + more), (text, more)
