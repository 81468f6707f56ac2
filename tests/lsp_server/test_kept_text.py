"""Accepted text followed through edits, against a slow reference that marks every byte."""

from __future__ import annotations

import random

import pytest

from lsp_server.documents import Document, Edit, Position
from lsp_server.kept_text import MOST_EDITS_BEFORE, KeptText, chars_in, pieces_of

ALPHABET = "ab é\n𝒳("


def document_of(text: str) -> Document:
    document = Document("file:///a", 1)
    document.replace(text)
    return document


def place_at(text: str, offset: int) -> Position:
    before = text[:offset]
    return Position(before.count("\n"), len(before) - before.rfind("\n") - 1)


@pytest.mark.parametrize("seed", range(60))
def test_kept_characters_are_those_that_no_edit_touched(seed: int) -> None:
    rng = random.Random(seed)

    def some(least: int, most: int) -> str:
        return "".join(rng.choices(ALPHABET, k=rng.randint(least, most)))

    before, accepted, after = some(0, 12), "x" + some(1, 12), some(0, 12)
    document = document_of(before + accepted + after)
    text = (
        [(char, False) for char in before]
        + [(char, True) for char in accepted]
        + [(char, False) for char in after]
    )
    line, column = document.locate(place_at(before, len(before)), "utf-32")
    kept = KeptText(accepted.encode(), line, column)
    kept.look(document.lines)
    assert kept.is_there
    followed = {index for index, (_, ours) in enumerate(text) if ours}
    # Blank pieces and line ends are not followed: the reference leaves them out too.
    lines_of_accepted = accepted.split("\n")
    flags = [
        char != "\n" and bool(lines_of_accepted[accepted[:i].count("\n")].strip())
        for i, char in enumerate(accepted)
    ]
    text = [(char, ours and flags[i - len(before)]) for i, (char, ours) in enumerate(text)]
    assert kept.chars == sum(ours for _, ours in text) <= len(followed)
    for _ in range(12):
        plain = "".join(char for char, _ in text)
        start, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        end = min(end, start + 4)
        new = some(0, 3)
        edit = Edit(new, place_at(plain, start), place_at(plain, end))
        kept.edited(document.apply(edit, "utf-32"), document.lines)
        text[start:end] = [(char, False) for char in new]
        assert b"".join(document.lines).decode() == "".join(char for char, _ in text)
        assert kept.kept_chars(document.lines) == sum(ours for _, ours in text), f"seed {seed}"


def test_the_insertion_may_come_after_the_acceptance() -> None:
    document = document_of("x.hel")
    kept = KeptText(b"lo()", 0, 5)
    kept.look(document.lines)
    assert not kept.is_there and kept.kept_chars(document.lines) == 0
    kept.edited(document.apply(Edit("lo()", Position(0, 5), Position(0, 5)), "utf-8"), document.lines)
    assert kept.is_there and kept.kept_chars(document.lines) == kept.chars == 4


def test_an_insertion_that_never_comes_is_given_up() -> None:
    document = document_of("x.hel")
    kept = KeptText(b"lo()", 0, 5)
    for _ in range(MOST_EDITS_BEFORE + 1):
        kept.edited(document.apply(Edit("", Position(0, 0), Position(0, 0)), "utf-8"), document.lines)
    kept.edited(document.apply(Edit("lo()", Position(0, 5), Position(0, 5)), "utf-8"), document.lines)
    assert not kept.is_there


def test_a_whole_new_text_keeps_what_stands_where_it_stood() -> None:
    document = document_of("a = one\nb = two\n")
    kept = KeptText(b"one\nb = two", 0, 4)
    kept.look(document.lines)
    kept.edited(document.apply(Edit("a = one\r\nb = two\r\n"), "utf-8"), document.lines)
    assert kept.kept_chars(document.lines) == kept.chars == 10
    kept.edited(document.apply(Edit("a = one\n\nb = two\n"), "utf-8"), document.lines)
    assert kept.kept_chars(document.lines) == 3


def test_line_ends_and_blank_lines_are_no_part() -> None:
    pieces = pieces_of(b"\r\n    x = 1\n\n  \n", 3, 7)
    assert [(p.text, p.line, p.column) for p in pieces] == [(b"    x = 1", 4, 0)] and chars_in(pieces) == 9
