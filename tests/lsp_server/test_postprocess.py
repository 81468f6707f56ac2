"""Golden cases: what the engine wrote, what stands behind the cursor, what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.postprocess import cut_repeated_rest, shown_text

GOLDEN = [
    # the whole rest of the line is repeated at the end: cut
    ("a, b)", ")\n", "a, b"),
    ("a, b):", "):\n    pass\n", "a, b"),
    ("key'] = 1", "'] = 1\r\nnext", "key"),
    ("a, b)", "  )  \nx", "a, b"),
    # `x.hel` + `lo()`: the rest says it all already, or it is not repeated in full
    ("lo()", "lo()", ""),
    ("l", "lo()", "l"),
    ("lo", "lo()", "lo"),
    # `foo = bar` + `rier`
    ("ista + ba", "rier", "ista + ba"),
    ("rier", "rier\n", ""),
    ("r", "rier", "r"),
    # the completion closes what it opened: `foo(pri` + `)`
    ("nt(x)", ")\n", "nt(x)"),
    ("nt(x))", ")\n", "nt(x)"),
    ("[1, 2]", "]", "[1, 2]"),
    # nothing behind the cursor, or white space only
    ("a, b)", "", "a, b)"),
    ("a, b)", "\n)\n", "a, b)"),
    ("a, b)", "   \n", "a, b)"),
    # nothing to show
    ("", "x", ""),
    (" \t\n", "x", ""),
    ("😀)", ")", "😀"),
]


@pytest.mark.parametrize(("text", "suffix", "shown"), GOLDEN)
def test_golden(text: str, suffix: str, shown: str) -> None:
    assert shown_text(text.encode(), suffix.encode()).decode() == shown


@given(st.text("()[]ab ,\n").map(str.encode), st.text("()[]ab ,\n").map(str.encode))
def test_only_what_stands_behind_the_cursor_is_cut(text: bytes, suffix: bytes) -> None:
    kept = cut_repeated_rest(text, suffix)
    assert text.startswith(kept)
    assert text[len(kept) :].strip() in (b"", (suffix.splitlines() or [b""])[0].strip())
