"""Windows: bounded, contiguous, and put while one types, moves down, or edits elsewhere."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.types import SHOWN_PREFIX_BYTES, SHOWN_SUFFIX_BYTES
from lsp_server.windows import ABOVE_BYTES, LINE_BYTES, Place, closed_lines, place_in

WORDS = [b"value", b"    ", b"return", b"total(items)", b" = ", b"\xc3\xbcber", b"x"]


def a_document(seed: int, lines: int) -> list[bytes]:
    source = random.Random(seed)
    return [b"".join(source.choices(WORDS, k=source.randint(0, 9))) + b"\n" for _ in range(lines)] + [b""]


def starts(lines: list[bytes], numbers: range) -> list[int]:
    """Number of the first shown line, for a cursor on each line."""
    return [number - place_in("u", lines, number, 0).above.count(b"\n") for number in numbers]


def test_a_small_document_is_shown_whole() -> None:
    lines = a_document(1, 20)
    place = place_in("u", lines, 10, 2)
    assert place.prefix + place.suffix == b"".join(lines) and place.at_top


def test_a_window_is_bounded_and_contiguous() -> None:
    lines = a_document(2, 3000)
    for number in range(0, 3000, 37):
        place = place_in("u", lines, number, len(lines[number]) - 1)
        assert place.prefix + place.suffix in b"".join(lines)
        assert len(place.prefix) <= SHOWN_PREFIX_BYTES and len(place.suffix) <= SHOWN_SUFFIX_BYTES
        if number > 300:
            assert len(place.above) >= ABOVE_BYTES // 2


def test_the_start_never_moves_up_and_seldom_moves_while_the_cursor_moves_down() -> None:
    lines = a_document(3, 3000)
    found = starts(lines, range(3000))
    moves = [second - first for first, second in pairwise(found) if second != first]
    assert min(moves) > 0
    reach = ABOVE_BYTES / 2 / (len(b"".join(lines)) / len(lines))
    assert len(moves) < 3000 / (reach / 2) * 1.3, "about once in half of the lines in reach"


def test_typing_on_the_line_does_not_move_the_start() -> None:
    lines = a_document(4, 1000)
    before = place_in("u", lines, 500, 0)
    for typed in range(1, LINE_BYTES):
        lines[500] = b"y" * typed + b"\n"
        assert place_in("u", lines, 500, typed).above == before.above


def test_an_edit_outside_of_the_window_changes_nothing() -> None:
    lines = a_document(5, 1000)
    before = place_in("u", lines, 500, 0)
    assert place_in("u", [b"import os\n", *lines[1:900], b"new\n", *lines[900:]], 500, 0) == before
    assert place_in("u", lines[100:], 400, 0) == before


def test_a_line_without_end_is_shown_from_a_place_that_moves_in_steps() -> None:
    lines = [b"before\n", "é".encode() * 50_000 + b"\n", b"after"]
    places = [place_in("u", lines, 1, column) for column in range(40_000, 42_000, 2)]
    assert len({len(place.line) - 2 * index for index, place in enumerate(places)}) <= 3
    for place in places:
        assert place.above == b"" and not place.at_top
        place.line.decode()
        place.suffix.decode()
        assert SHOWN_PREFIX_BYTES - 1024 <= len(place.line) <= SHOWN_PREFIX_BYTES
        assert SHOWN_SUFFIX_BYTES - 3 <= len(place.suffix) <= SHOWN_SUFFIX_BYTES


text_pieces = st.lists(st.sampled_from([*WORDS, b"\n", b"\r\n", b"\r", b"\n\n"]), max_size=12).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 50), st.integers(0, 400), text_pieces, st.booleans())
def test_after_typing_the_place_is_the_documents(seed: int, number: int, typed: bytes, late: bool) -> None:
    lines = a_document(seed, 400)
    column = len(lines[number].rstrip(b"\n")) if late else 0
    place = place_in("u", lines, number, column)
    before = b"".join(lines[:number]) + lines[number][:column] + typed
    behind = lines[number][column:]
    if typed.endswith(b"\r") and behind.startswith(b"\n"):
        return  # one line end now: no cursor stands inside it
    there = closed_lines(before)
    document = [*there[:-1], *closed_lines(there[-1] + behind + b"".join(lines[number + 1 :]))]
    expected = place_in("u", document, len(there) - 1, len(there[-1]))
    found = place.after(typed)
    assert (found.above, found.line, found.at_top) == (expected.above, expected.line, expected.at_top)
    assert found.suffix == place.suffix


def test_the_narrow_window_is_the_end_of_the_whole_one() -> None:
    place = place_in("u", a_document(6, 1000), 500, 3)
    narrow = place.narrowed(1000)
    assert place.above.endswith(narrow.above) and 500 <= len(narrow.above) <= 1000
    assert (narrow.line, narrow.suffix) == (place.line, place.suffix)
    small = Place("u", b"a\n", b"b", b"", at_top=True)
    assert small.narrowed(1000) == small
