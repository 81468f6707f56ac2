"""Toy vocabularies of both families, at most 8 text tokens each; what a name says is what is tricky in it."""

from __future__ import annotations

from tests.engine.toy_families import ByteLevelToy, SentencePieceToy, Toy


def _symbols(text: str) -> tuple[bytes, ...]:
    return tuple(bytes([byte]) for byte in text.encode("latin-1"))


BYTE_LEVEL = {
    "chain": ByteLevelToy(_symbols("abc"), ((b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"a"))),
    "late parts": ByteLevelToy(_symbols("ab"), ((b"b", b"a"), (b"a", b"b"), (b"ab", b"ab"), (b"ba", b"b"))),
    "runs": ByteLevelToy(_symbols("ab"), ((b"a", b"a"), (b"aa", b"aa"), (b"aaaa", b"b"), (b"b", b"b"))),
    "nested": ByteLevelToy(_symbols("abc"), ((b"b", b"c"), (b"a", b"bc"), (b"abc", b"a"), (b"c", b"a"))),
    "no merges": ByteLevelToy(_symbols("abc"), ()),
    "gpt-2": ByteLevelToy(_symbols("as '1"), ((b"'", b"s"), (b" ", b"a"), (b"a", b"s")), "gpt-2"),
    "starcoder": ByteLevelToy(_symbols("a \n1"), ((b" ", b" "), (b"\n", b" "), (b"1", b"1")), "starcoder"),
    "contractions of two letters": ByteLevelToy(_symbols("l'"), ((b"l", b"'"),), "gpt-4o"),
    "qwen2": ByteLevelToy(_symbols("s \n'"), ((b" ", b" "), (b"\n", b"\n"), (b"'", b"s")), "qwen2"),
    "cut characters": ByteLevelToy(
        _symbols("a\xc3\xa9\x97"), ((b"\xc3", b"\xa9"), (b"a", b"\xc3"), (b"a", b"\xc3\xa9")), "gpt-2"
    ),
    "broken characters": ByteLevelToy(
        _symbols("\xcc\x81"),
        ((b"\x81", b"\x81"), (b"\xcc", b"\x81"), (b"\x81", b"\xcc"), (b"\xcc\x81", b"\xcc")),
        "tekken",
    ),
    "marks broken off": ByteLevelToy(
        _symbols("\xcc\x81"),
        ((b"\x81", b"\x81"), (b"\x81\x81", b"\x81"), (b"\x81\x81\x81", b"\xcc")),
        "deepseek-v3",
    ),
}
"""Under "starcoder" the merge of two digits, and under "gpt-2" none, is unreachable. é (C3 A9) is a
letter and × (C3 97) is not, so an "a" may be joined with the first byte of one and not of the other. All
that CC begins are accents, and under "tekken" they belong to the word before them; a CC that begins
nothing does not, so it may be a token where an accent's first byte is joined with what stands before it.
Under "gpt-4o" a contraction belongs to its word, so l' may be a token, but only where two more letters
follow: that vocabulary has no s. Under "deepseek-v3" an accent takes in one character before it, so three 81
and a CC are a token only where two more that are broken off stand between them and any accent."""

SENTENCE_PIECE = {
    "byte fallback": SentencePieceToy(
        _symbols("ab "), ((b"a", -3), (b" ", -4), (b" a", -1), (b"aa", -2)), byte_tokens=b"ab "
    ),
    "bytes alone": SentencePieceToy(_symbols("ab"), (), byte_tokens=b"ab"),
    "characters": SentencePieceToy(
        _symbols("a\xc3\xa9"),
        ((b"a", -3), (b"\xc3\xa9", -4), (b"a\xc3\xa9", -1), (b"\xc3\xa9a", -2)),
        byte_tokens=b"\xc3\xa9a",
    ),
    "dummy space": SentencePieceToy(
        _symbols("a b"),
        ((b"a", -5), (b" ", -6), (b"b", -7), (b"aa", -1), (b" a", -2), (b" aa", -3), (b" b", -4)),
        text_start=b" ",
    ),
    "runs of spaces": SentencePieceToy(
        _symbols("a "),
        ((b"a", -5), (b" a", -1), (b"aa", -2), *((b" " * n, -9) for n in range(1, 5))),
        text_start=b" ",
    ),
    "added": SentencePieceToy(
        _symbols("ab"), ((b"a", -3), (b"b", -4), (b"ab", -1), (b"ba", -2)), added=(b"aba", b"bb", b"abb")
    ),
    "added lines": SentencePieceToy(
        _symbols("a\n "),
        ((b"a", -3), (b" ", -4), (b" a", -1)),
        byte_tokens=b"\n",
        added=(b"\n", b"\n\n", b"\n a"),
    ),
    "literal ▁": SentencePieceToy(
        _symbols("a \xe2\x96\x81"), ((b"a", -2), (b" ", -3), (b" a", -1)), byte_tokens=b"\xe2\x96\x81"
    ),
    "scores against lengths": SentencePieceToy(
        _symbols("ab"),
        ((b"a", -6), (b"b", -7), (b"ba", -3), (b"ab", -4), (b"abab", -1), (b"bab", -2), (b"bb", -5)),
    ),
}
"""All byte tokens stand beside pieces of the same bytes where there are such: those are never canonical."""

TOYS: dict[str, Toy] = {**BYTE_LEVEL, **SENTENCE_PIECE}
