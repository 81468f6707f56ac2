"""What of the chosen bytes may be shown: whole characters, whole lines, no half CRLF."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stop import Limits, TextSoFar, may_become_text, whole_length, within_lines


@given(st.text(max_size=8), st.integers(0, 40))
def test_a_cut_text_is_shown_up_to_its_last_whole_character(text: str, cut: int) -> None:
    raw = text.encode()[:cut]
    whole = raw[: whole_length(raw)]
    assert whole == raw.decode("utf-8", "ignore").encode()
    assert len(raw) - len(whole) < 4


@given(st.binary(max_size=12), st.sampled_from([b"", b"\xc3", b"\xe2\x82", b"\xf0"]))
def test_what_is_shown_of_anything_is_the_longest_beginning_that_is_text(raw: bytes, begun: bytes) -> None:
    whole = whole_length(raw, begun)
    if whole:
        (begun + raw[:whole]).decode()
    for longer in range(whole + 1, len(raw) + 1):
        with pytest.raises(UnicodeDecodeError):
            (begun + raw[:longer]).decode()


@given(st.binary(max_size=6))
def test_what_may_become_text_is_the_beginning_of_some(raw: bytes) -> None:
    ends = [b"", *(bytes([byte, 0x80, 0x80][:size]) for byte in range(0x80, 0xC0) for size in (1, 2, 3))]

    def is_text(whole: bytes) -> bool:
        try:
            return whole.decode() is not None
        except UnicodeDecodeError:
            return False

    assert may_become_text(raw) == any(is_text(raw + end) for end in ends)
    assert may_become_text(raw[1:], raw[:1]) == may_become_text(raw)


@pytest.mark.parametrize(
    ("raw", "whole"),
    [
        (b"", b""),
        (b"abc", b"abc"),
        ("é".encode(), "é".encode()),
        (b"a\xc3", b"a"),
        ("你".encode()[:2], b""),
        ("x🙂".encode()[:4], b"x"),
        ("x🙂".encode(), "x🙂".encode()),
        (b"\x80\x80", b""),
        (b"a\xffb", b"a"),
    ],
)
def test_examples_of_whole_characters(raw: bytes, whole: bytes) -> None:
    assert raw[: whole_length(raw)] == whole


@pytest.mark.parametrize(
    ("raw", "lines", "shown"),
    [
        (b"a", 1, b"a"),
        (b"a\nb", 1, b"a"),
        (b"\na", 1, b""),
        (b"a\nb\nc", 2, b"a\nb"),
        (b"a\nb", 3, b"a\nb"),
        (b"a\r\nb\r\nc", 2, b"a\r\nb\r"),
    ],
)
def test_lines(raw: bytes, lines: int, shown: bytes) -> None:
    assert within_lines(raw, lines) == shown


def completed(text: bytes, max_lines: int = 1) -> bytes:
    so_far = TextSoFar(Limits(max_tokens=9, max_lines=max_lines))
    so_far.add(text)
    return so_far.completion(so_far.ended or "end-of-middle").text


def test_a_completion_ends_before_its_last_line_end_and_shows_no_half_of_it() -> None:
    assert completed(b"foo()\r\n") == b"foo()"
    assert completed(b"foo()\r") == b"foo()"
    assert completed(b"foo()\n") == b"foo()"
    assert completed(b"a\r\nb\r\nc", max_lines=2) == b"a\r\nb"
    assert completed(b"foo()\r\r") == b"foo()"
    assert completed(b"caf\xc3") == b"caf"


def test_a_character_that_began_before_the_cursor_is_finished_or_not_shown() -> None:
    limits = Limits(max_tokens=9, max_lines=1, before=b"a" + "€".encode()[:2])
    for text, shown, ended in ((b"\xac!", b"\xac!", None), (b"", b"", None), (b"a", b"", "end-of-middle")):
        so_far = TextSoFar(limits)
        so_far.add(text)
        assert (so_far.ended, so_far.completion("tokens").text) == (ended, shown)


def test_a_byte_that_no_text_has_ends_a_completion() -> None:
    so_far = TextSoFar(Limits(max_tokens=9, max_lines=1))
    so_far.add(b"ab\xe2\x82")
    assert so_far.ended is None
    so_far.add(b"c")
    assert so_far.ended == "end-of-middle"
    assert so_far.completion("end-of-middle").text == b"ab"


def test_the_line_budget_ends_a_completion() -> None:
    so_far = TextSoFar(Limits(max_tokens=9, max_lines=2))
    so_far.add(b"a\n")
    assert so_far.ended is None
    so_far.add(b"b\n")
    assert so_far.ended == "lines"


def test_budget_and_deadline_are_told_apart() -> None:
    spent = TextSoFar(Limits(max_tokens=1, max_lines=1))
    assert spent.may_evaluate()
    spent.evaluated()
    assert not spent.may_evaluate()
    assert spent.completion("deadline").stop == "tokens"
    late = TextSoFar(Limits(max_tokens=5, max_lines=1, is_overdue=lambda: True))
    assert not late.may_evaluate()
    assert late.completion("deadline").stop == "deadline"
