"""The document store against a plain string."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.types import SHOWN_PREFIX_BYTES, SHOWN_SUFFIX_BYTES
from lsp_server.documents import Document, Edit, Position
from lsp_server.positions import Encoding

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
PIECES = ["a", "é", "😀", "\n", "\r\n", "\r", "\f", "\u2028", "\x85", "\x0b", "\x1c", "\t", "e\u0301", "漢"]
texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def reference_offset(text: str, position: Position, encoding: Encoding) -> int:
    """Character offset of an LSP position, straight from the specification and without cleverness."""
    lines = re.split(r"(\r\n|\r|\n)", text)  # content, line end, content, …, content
    if position.line * 2 >= len(lines):
        return len(text)
    offset = len("".join(lines[: position.line * 2]))
    units = 0
    for character in lines[position.line * 2]:
        units += (
            len(character.encode(encoding.replace("16", "16-le").replace("32", "32-le")))
            // ({"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding])
        )
        if units > position.column:
            break
        offset += 1
    return offset


positions = st.builds(Position, st.integers(0, 12), st.integers(0, 12))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ENCODINGS), texts, st.lists(st.tuples(positions, positions, texts), max_size=6), positions
)
def test_edits_agree_with_a_plain_string(
    encoding: Encoding, text: str, edits: list[tuple[Position, Position, str]], cursor: Position
) -> None:
    document = Document("u", 1)
    document.replace(text)
    for start, end, new in edits:
        document.apply(Edit(new, start, end), encoding)
        a, b = sorted(reference_offset(text, p, encoding) for p in (start, end))
        text = text[:a] + new + text[b:]
        assert document.edited is not None
        behind = document.place_at(*document.edited)
        assert behind.suffix.decode() == text[a + len(new) :]
        assert b"".join(document.lines).decode() == text
        assert [line.decode() for line in document.lines] == reference_lines(text)
    if cursor.line < len(document.lines):
        place = document.place(cursor, encoding)
        assert (place.prefix + place.suffix).decode() == text
        assert len(place.prefix.decode()) == reference_offset(text, cursor, encoding)
        clamped = document.position(*document.locate(cursor, encoding), encoding)
        assert document.place(clamped, encoding) == place


def reference_lines(text: str) -> list[str]:
    parts = re.split(r"(\r\n|\r|\n)", text)
    return [content + end for content, end in zip(parts[::2], [*parts[1::2], ""], strict=True)]


def test_form_feed_and_line_separator_do_not_end_a_line() -> None:
    document = Document("u", 1)
    document.replace("a\fb\u2028c\nd")
    assert len(document.lines) == 2
    document.apply(Edit("X", Position(1, 0), Position(1, 1)), "utf-16")
    assert b"".join(document.lines).decode() == "a\fb\u2028c\nX"


def test_a_line_feed_typed_behind_a_carriage_return_joins_it() -> None:
    document = Document("u", 1)
    document.replace("a\rb")
    document.apply(Edit("\n", Position(1, 0), Position(1, 0)), "utf-16")
    assert document.lines == [b"a\r\n", b"b"]


def test_a_lone_surrogate_is_refused_until_the_text_is_sent_again() -> None:
    document = Document("u", 1)
    document.replace("ok")
    with pytest.raises(InputError, match=r"U\+D83D"):
        document.apply(Edit("\ud83d", Position(0, 1), Position(0, 1)), "utf-16")
    with pytest.raises(InputError, match="lone surrogate"):
        document.apply(Edit("x", Position(0, 0), Position(0, 0)), "utf-16")
    with pytest.raises(InputError):
        document.place(Position(0, 0), "utf-16")
    document.apply(Edit("whole"), "utf-16")
    assert document.place(Position(0, 5), "utf-16").prefix == b"whole"


def test_a_line_that_does_not_exist_is_named() -> None:
    document = Document("u", 1)
    document.replace("one\n")
    with pytest.raises(InputError, match="line 2 of a document of 2 lines"):
        document.place(Position(2, 0), "utf-16")


def test_a_keystroke_in_a_megabyte_copies_no_more_than_a_window() -> None:
    document = Document("u", 1)
    document.replace("    value = compute(value, 12345, 'ü')\n" * 26_000)
    assert sum(map(len, document.lines)) > 1_000_000
    document.apply(Edit("x", Position(13_000, 0), Position(13_000, 0)), "utf-16")
    tracemalloc.start()
    for column in range(1, 50):
        place = Position(13_000, column)
        document.apply(Edit("x", place, place), "utf-16")
        around = document.place(Position(13_000, column + 1), "utf-16")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert around.prefix.endswith(b"x" * 50)
    assert peak_bytes < 8 * (SHOWN_PREFIX_BYTES + SHOWN_SUFFIX_BYTES)
