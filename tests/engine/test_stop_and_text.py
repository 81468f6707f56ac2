"""What of the chosen bytes may be shown: whole characters, whole lines, no half CRLF."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stop import Limits, TextSoFar, whole_length, within_lines


@given(st.text(max_size=8), st.integers(0, 40))
def test_a_cut_text_is_shown_up_to_its_last_whole_character(text: str, cut: int) -> None:
    raw = text.encode()[:cut]
    whole = raw[: whole_length(raw)]
    assert whole == raw.decode("utf-8", "ignore").encode()
    assert len(raw) - len(whole) < 4


@given(st.binary(max_size=12))
def test_at_most_three_bytes_are_held_back_of_anything(raw: bytes) -> None:
    held = raw[whole_length(raw) :]
    assert len(held) <= 3 and (not held or held[0] >= 0xC0)


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
        (b"\x80\x80", b"\x80\x80"),
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
    assert completed(b"caf\xc3") == b"caf"


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
