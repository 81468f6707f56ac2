"""Scores against cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lsp_server.evaluation.items import Item
from lsp_server.evaluation.metrics import (
    continues_token,
    doubles_suffix,
    indents_wrong,
    interval,
    scores_of,
    similarity,
    wasted_chars,
)


@pytest.mark.parametrize(
    ("text", "middle", "expected"),
    [("", "", 1.0), ("abc", "abc", 1.0), ("abc", "", 0.0), ("kitten", "sitting", 1 - 3 / 7),
     ("ab", "ba", 0.0), ("a(b", "a(b)", 0.75)],
)  # fmt: skip
def test_similarity(text: str, middle: str, expected: float) -> None:
    assert similarity(text, middle) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "middle", "wasted"),
    [(b"", b"abc", 0), (b"abc", b"abc", 0), (b"abcd", b"abc", 1), (b"xbc", b"abc", 3), (b"ab", b"abc", 0),
     ("aéx".encode(), "aéy".encode(), 1)],
)  # fmt: skip
def test_wasted(text: bytes, middle: bytes, wasted: int) -> None:
    assert wasted_chars(text, middle) == wasted


@pytest.mark.parametrize(
    ("text", "rest", "goes_on"),
    [(b"pute(x)", b"pute", True), (b"puter", b"pute", False), (b"put", b"pute", False), (b"+ x", b"+", True),
     (b"+x", b"+", True), ("é".encode(), "é".encode(), True), ("éa".encode(), "é".encode(), False)],
)  # fmt: skip
def test_token(text: bytes, rest: bytes, goes_on: bool) -> None:
    assert continues_token(text, rest) is goes_on


@pytest.mark.parametrize(
    ("text", "middle", "suffix", "doubled"),
    [
        (b"x)", b"x", b")\n", 1.0),
        (b"x", b"x", b")\n", 0.0),
        (b"f(x)", b"f(x)", b")\n", 0.0),
        (b"a\nreturn a", b"a", b"\n\n  return a\n", 1.0),
        (b"return b", b"a", b"\n\n  return a\n", 0.0),
        (b"a", b"a", b"\n", None),
    ],
)
def test_doubled(text: bytes, middle: bytes, suffix: bytes, doubled: float | None) -> None:
    assert doubles_suffix(text, middle, suffix) == doubled


def test_indentation() -> None:
    assert indents_wrong(b"if x:\ny = 1\n")
    assert not indents_wrong(b"if x:\n    y = 1\n")
    assert not indents_wrong(b"x = (\n")


def item(language: str = "python") -> Item:
    prefix = b"def f(x):\n    return "
    return Item("i", "g", "k", language, prefix, b"\n", b"x + 1", token_rest=b"x")


def test_all_scores_of_a_right_and_of_a_wrong_text() -> None:
    right = scores_of(item(), b"x + 1 ", passed=True)
    assert (right.exact, right.token, right.passed, right.syntax, right.indentation) == (1, 1, 1, 0, 0)
    wrong = scores_of(item(), b"xs(\n", passed=None)
    assert (wrong.exact, wrong.token, wrong.passed, wrong.syntax) == (0, 0, None, 1)
    assert wrong.wasted == 3
    unknown = scores_of(item("cobol"), b"x", passed=None)
    assert unknown.syntax is None and unknown.indentation is None


@pytest.mark.parametrize(
    ("prefix", "text", "suffix", "doubled"),
    [
        (b"y = f(", b"g(x)", b")\n", 0.0),
        (b"y = f(", b"x)", b")\n", 1.0),
        (b"def f():\n    if x:", b"\n        return 1", b"\n    return 1\n", 0.0),
        (b"def f():\n    x = 1", b"\n    return 1", b"\n    return 1\n", 1.0),
    ],
)
def test_what_the_document_needs_is_not_doubled(
    prefix: bytes, text: bytes, suffix: bytes, doubled: float
) -> None:
    assert doubles_suffix(text, b"x", suffix) == 1.0
    asked = Item("i", "g", "k", "python", prefix, suffix, b"x")
    assert scores_of(asked, text, passed=None).doubled == doubled
    assert scores_of(replace(asked, language="cobol"), text, passed=None).doubled == 1.0


def test_an_interval_draws_groups_as_a_whole() -> None:
    """Ten groups of ten equal values are worth ten values, not a hundred."""
    single = [float(n < 5) for n in range(10)]
    repeated = [value for value in single for _ in range(10)]
    names = [str(n) for n in range(10)]
    wide = interval(single, names, 1)
    assert interval(repeated, [n for n in names for _ in range(10)], 1) == pytest.approx(wide)
    low, high = interval(repeated, [str(n) for n in range(100)], 1)
    assert wide[0] < low < 0.5 < high < wide[1]
    assert interval([1.0, 1.0], ["a", "b"], 0) == (1.0, 1.0)
