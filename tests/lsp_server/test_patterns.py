from __future__ import annotations

import pytest

from engine.errors import InputError
from lsp_server.patterns import Patterns


def test_lines_with_a_meaning() -> None:
    lines = [
        "# a comment",
        "",
        "  ",
        "*.log\r",
        "!keep.log",
        "/top",
        "a/**/b",
        "\\#x",
        "sp\\ ",
        "in/",
        "c/**",
    ]
    patterns = Patterns(lines)
    kept_out = ["x.log", "d/x.log", "top", "a/b", "a/1/2/b", "#x", "sp ", "top/x", "in/x", "d/in/x", "c/x"]
    others = ["keep.log", "d/top", "in", "c", "d/c/x"]
    assert [name for name in kept_out + others if patterns.about_way(name)] == kept_out
    assert patterns.about_way("keep.log") is False and patterns.about_way("d/top") is None


def test_only_what_a_pattern_names_is_matched_by_it() -> None:
    patterns = Patterns(["b/", "!/a"])
    assert (
        patterns.about("a/b/") is True and patterns.about("a/b/x") is None and patterns.about("a/") is False
    )
    assert patterns.about_way("a/b/x") is True and patterns.about_way("a/x") is False


@pytest.mark.parametrize("line", ["!", "src/[b", "x\\", "[]", "/", "a[!]", "[z-a]", "[[:alpha:]]"])
def test_lines_that_would_do_nothing_are_errors(line: str) -> None:
    with pytest.raises(InputError, match="line 3 is not a pattern"):
        Patterns(["*.log", "# next", line])
