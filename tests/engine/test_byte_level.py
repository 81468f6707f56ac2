"""Byte-level BPE: fast answers against decode-and-encode-again, on vocabularies trained here."""

from __future__ import annotations

import dataclasses
import pickle
import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.kernels import SuccessorRule, allowed_rows
from engine.tokenizers.base import UNASKED, UNTOLD
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.expressions import EXPRESSIONS
from engine.tokenizers.kept import pickled
from engine.tokenizers.verdicts import Judge, Verdicts
from engine.vocab import TokenKind
from tests.engine.corpus import CODE, STDLIB, TORTURE
from tests.engine.vocabularies import Trained, trained

WHOLE = "llama-3, merges ignored"
ADDED = "deepseek-coder, letters added"
NAMES = [*sorted(EXPRESSIONS), WHOLE, ADDED]
WHOLE_TOKENS = (
    b" return",
    b" xy",
    b" total",
    b"import",
    b"1234",
    b"123",
    b"\n\n\n\n",
    "\u00e9t\u00e9".encode(),
    b"()",
)
CORPUS = CODE * 4 + TORTURE * 2 + STDLIB[:4000]


@cache
def vocabulary(name: str) -> Trained:
    family, whole = ("llama-3", WHOLE_TOKENS) if name == WHOLE else (name.split(",")[0], ())
    added = "\u00e9\u00df" if name == ADDED else ""
    control = ("<|im_end|>", "<|endoftext|>")
    return trained(family, CORPUS, merges=300, control=control, missing=b"\xf5\x01", whole=whole, added=added)


@pytest.fixture(params=NAMES)
def tokenizer(request: pytest.FixtureRequest) -> ByteLevelBPE:
    return vocabulary(request.param).tokenizer


def begins_a_text(tokenizer: ByteLevelBPE, path: tuple[int, ...]) -> bool:
    """Canonical by its definition, with a sample of texts behind: encode(κ(T) + y) starts with T."""
    text = tokenizer.vocab.decode(path)
    return any(tokenizer.encode(text + more)[: len(path)] == path for more in BEHIND)


LETTERS = [b"e", b"l", b"a", b"s", "é".encode(), "你".encode(), "🙂".encode(), "한".encode()]
COMPLETIONS = [b"\xa9", b"\xa0", b"\xbd\xa0", b"\x80\xa8", b"\x80\x80", b"\x8f\xbf\xbf", b"\x9f\x99\x82"]
BEHIND = [b"", b"1", b".", b"\n", b" ", *LETTERS, *COMPLETIONS, *[c + b"e" for c in COMPLETIONS], b"\xff"]


def contexts(tokenizer: ByteLevelBPE, rng: random.Random, count: int) -> list[tuple[int, ...]]:
    """Canonical token sequences of pieces of text; pieces may start and end inside characters."""
    found: list[tuple[int, ...]] = [()]
    while len(found) < count:
        text = rng.choice([CODE, TORTURE, TORTURE, STDLIB[:3000]])
        start = rng.randrange(len(text) - 1)
        found += tokenizer.encodings(text[start : start + rng.randrange(1, 40)])
    return found


def rows_to_try(tokenizer: ByteLevelBPE, rng: random.Random) -> list[int]:
    """Random rows, and rows of tokens that begin as pretokenizers care about."""
    vocab = tokenizer.vocab
    rows = [rng.randrange(vocab.rows) for _ in range(20)]
    for head in (b" ", b"\n", b"\r", b"\t", b"'", b"e", b"r", b"l", b"1", b".", b"\xc3", b"\xa9", b"\x80"):
        low, high = vocab.prefix_range(head)
        rows += [rng.randrange(low, high) for _ in range(2) if low < high]
    return rows


def test_successors_are_those_that_encode_back(tokenizer: ByteLevelBPE) -> None:
    rng = random.Random(7)
    for context in contexts(tokenizer, rng, 60):
        allowed = tokenizer.successors(context)
        for row in rows_to_try(tokenizer, rng):
            path = (*context, int(tokenizer.vocab.order[row]))
            assert tokenizer.is_canonical(path) == bool(allowed[row]), (tokenizer.vocab.decode(path), path)


def test_a_token_by_itself_is_judged_as_any_context(
    tokenizer: ByteLevelBPE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked up for one token, against what is derived from the shape of its text."""
    tokens = [(token,) for token in tokenizer.vocab.order.tolist()]
    looked_up = [tokenizer._judge.judge(token) for token in tokens]
    rules = [tokenizer._rule_of_one(token) for (token,) in tokens]
    assert sum(tokenizer._cuts.alone_of[token] >= 0 for (token,) in tokens) > 0.7 * len(tokens)
    monkeypatch.setattr(Judge, "_judged_alone", lambda *_: None)
    for token, found, rule in zip(tokens, looked_up, rules, strict=True):
        derived, other = tokenizer._judge.judge(token), tokenizer._find_rule(token)
        assert (rule is None) == (other is None), token
        if rule is not None and other is not None:
            assert rule[1:] == other[1:] and np.array_equal(rule.verdicts, other.verdicts), token
        for field in dataclasses.fields(derived):
            assert np.array_equal(getattr(found, field.name), getattr(derived, field.name)), token


def test_where_a_context_ends_follows_from_the_shapes_of_its_last_tokens(tokenizer: ByteLevelBPE) -> None:
    rng, told = random.Random(5), 0
    for _ in range(3000):
        pair = rng.choice(tokenizer.vocab.order), rng.choice(tokenizer.vocab.order)
        stable = tokenizer._cuts.stable_tokens(*pair)
        if stable is not None:
            told += 1
            assert pair[stable:] == tokenizer._behind(pair, tokenizer._stable_part(pair)[1])
    assert told > 1000


def test_what_is_foreseen_is_what_would_be_told(tokenizer: ByteLevelBPE) -> None:
    """All pairs of groups; the vocabulary's own tokenizer stays as it is, without foresight."""
    groups = range(tokenizer.alone.groups)
    foreseen = pickle.loads(pickled(tokenizer))
    foreseen.foresee()
    told, expected = foreseen.alone, tokenizer.alone
    assert (expected.stable == UNASKED).all() and (expected.joined == UNASKED).all()
    for table, method in ((told.stable, tokenizer.stable_alone), (told.joined, tokenizer.joined_alone)):
        answers = [[UNTOLD if (found := method(a, b)) is None else found for b in groups] for a in groups]
        np.testing.assert_array_equal(table[table != UNASKED], np.array(answers)[table != UNASKED])
        assert (table != UNASKED).sum() == len(tokenizer._cuts.common_groups) ** 2
    assert (told.stable >= 0).any() and (told.joined >= 0).any() != bool(tokenizer._whole)
    for group in foreseen._judge._foreseen:
        for field in dataclasses.fields(Verdicts):
            derived = getattr(tokenizer._judge._judge_alone(group), field.name)
            assert np.array_equal(getattr(foreseen._judge._foreseen[group], field.name), derived)


def test_a_rule_tells_what_the_definition_tells(tokenizer: ByteLevelBPE) -> None:
    """The successors by rule are those found with all that makes a context special looked at."""
    rng, rows, rules = random.Random(6), tokenizer.vocab.rows, 0
    path = tokenizer.encode(CORPUS)
    for _ in range(150):
        end = rng.randrange(1, len(path))
        tokens = tokenizer.context_end(path[:end])
        rule = tokenizer.successor_rule(tokens)
        found = allowed_rows(rule, 0, rows)
        np.testing.assert_array_equal(found, tokenizer.successors(tokens))
        rules += isinstance(rule, SuccessorRule)
        final, last = allowed_rows(tokenizer._rule(tokens), 0, rows), rng.randrange(rows)
        if isinstance(rule, SuccessorRule):
            assert not tokenizer._judge.recut_rows(tokens) and not tokenizer._judge.broken_rows(tokens, final)
        if found[last]:
            followed = (*tokens, int(tokenizer.vocab.order[last]))
            assert tokenizer.may_end(followed) == tokenizer.is_final(followed)
    # GPT-4o's words join accents, so behind each context a broken character could be cut otherwise.
    assert rules > 50 or tokenizer._whole or tokenizer._pretokenizer.name == "gpt-4o"


def test_canonical_is_what_some_text_starts_with(tokenizer: ByteLevelBPE) -> None:
    """is_canonical against its definition, for both laws of what may follow."""
    rng = random.Random(8)
    for context in contexts(tokenizer, rng, 25):
        for row in rows_to_try(tokenizer, rng):
            path = (*context, int(tokenizer.vocab.order[row]))
            if begins_a_text(tokenizer, path):
                assert tokenizer.is_canonical(path), (tokenizer.vocab.decode(path), path)
            if tokenizer.is_final(path):
                assert tokenizer.is_canonical(path)


def test_what_is_canonical_starts_with_what_is_canonical(tokenizer: ByteLevelBPE) -> None:
    for text in (CODE, TORTURE):
        path = tokenizer.encode(text[:250])
        for end in range(len(path) + 1):
            assert tokenizer.is_canonical(path[:end]), (tokenizer.vocab.decode(path[:end])[-20:], end)
            if end:
                row = tokenizer.vocab.row_of[path[end - 1]]
                assert tokenizer.successors(path[: end - 1])[row]


def test_reachable_tokens_are_those_that_encode_to_themselves(tokenizer: ByteLevelBPE) -> None:
    allowed = tokenizer.successors(())
    for row, token in enumerate(tokenizer.vocab.order.tolist()):
        assert tokenizer.is_canonical((token,)) == bool(allowed[row]), tokenizer.vocab.token_bytes[token]


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)), st.sampled_from(NAMES))
def test_any_bytes_round_trip(text: bytes, name: str) -> None:
    tokenizer = vocabulary(name).tokenizer
    if set(text) & tokenizer.missing_bytes:
        with pytest.raises(InputError, match="cannot express the byte 0x"):
            tokenizer.encode(text)
        with pytest.raises(InputError, match="cannot express the byte 0x"):
            tokenizer.encodings(text)
        return
    assert all(tokenizer.vocab.decode(path) == text for path in tokenizer.encodings(text))
    assert tokenizer.is_final(tokenizer.encode(text))


def test_no_encoding_is_listed_twice(tokenizer: ByteLevelBPE) -> None:
    """One listed twice would count twice in the law."""
    for text in (b"\n\n\n", b"\n\n\n\n", b"x \n\n", b" xy", b"1234", b"don't", CODE[:90], TORTURE[:77]):
        found = tokenizer.encodings(text)
        assert len(set(found)) == len(found), text


def test_no_continuation_changes_stable_tokens(tokenizer: ByteLevelBPE) -> None:
    rng = random.Random(10)
    pieces = [CODE, TORTURE, STDLIB[:3000]]
    for _ in range(400):
        text = rng.choice(pieces)
        start = rng.randrange(len(text))
        head = text[start : start + rng.randrange(60)]
        more = rng.choice([*BEHIND, b"re", b"'ll", b" \n", b"\n\n x", text[:5]])
        found = tokenizer.encode_stable(head)
        stable = found.tokens[: found.stable_tokens]
        assert tokenizer.vocab.decode(stable) == head[: found.stable_bytes]
        assert tokenizer.encode(head + more)[: found.stable_tokens] == stable, (head, more)


def test_special_tokens_are_never_parsed(tokenizer: ByteLevelBPE) -> None:
    path = tokenizer.encode(b"a<|im_end|>b<|endoftext|>")
    assert tokenizer.vocab.decode(path) == b"a<|im_end|>b<|endoftext|>"
    assert not {t for t, kind in enumerate(tokenizer.vocab.kinds) if kind == TokenKind.CONTROL} & set(path)


def test_the_canonical_path_is_always_in_the_tree(tokenizer: ByteLevelBPE) -> None:
    """Claim 11: after every byte the full text's path runs through a context, and leaves start with it."""
    vocab = tokenizer.vocab
    for text in (TORTURE[:150], TORTURE[-130:], CODE[:150]):
        full = tokenizer.encode(text)
        ends = np.cumsum([len(vocab.token_bytes[t]) for t in full])
        for cursor in range(1, len(text) - 3):
            index = int(np.searchsorted(ends, cursor, side="right"))
            start = int(ends[index - 1]) if index else 0
            head, context = text[start:cursor], full[:index]
            assert context in tokenizer.encodings(text[:start]), text[:cursor]
            low, high = vocab.prefix_range(head)
            row = int(vocab.row_of[full[index]])
            assert low <= row < high and tokenizer.successors(context)[row], text[:cursor]
            assert all(vocab.sorted_bytes[r].startswith(head) for r in (low, high - 1))


def test_a_whole_token_is_a_word_or_nothing() -> None:
    tokenizer = vocabulary(WHOLE).tokenizer
    whole = {tokenizer.vocab.decode([t]): t for t in tokenizer._whole_ids}
    assert len(whole) >= 5, sorted(whole)
    for text, token in whole.items():
        assert (tokenizer.encode(text) == (token,)) == (text != b"1234"), text
        assert token not in tokenizer.encode(text + b"e") or not text[-1:].isalpha(), text
    pieces = vocabulary("llama-3").tokenizer.encode(b" xy")
    assert len(pieces) > 1 and not tokenizer.is_final(pieces) and tokenizer.is_canonical(pieces)
    assert tokenizer.encodings(b" xy")[0] == (whole[b" xy"],) and pieces in tokenizer.encodings(b" xy")


def test_an_added_letter_is_a_word() -> None:
    tokenizer = vocabulary(ADDED).tokenizer
    added = {tokenizer.vocab.decode([t]): t for t in tokenizer._whole_ids}
    assert set(added) == {"\u00e9".encode(), "\u00df".encode()}
    path = tokenizer.encode("na\u00e9\u00e9ve".encode())
    assert path.count(added["\u00e9".encode()]) == 2
    for text, token in added.items():
        assert tokenizer.encodings(text) == [(token,)]
