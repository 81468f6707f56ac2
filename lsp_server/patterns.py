"""Patterns in gitignore's syntax, translated by pathspec; what it would skip in silence is an error here.

A line that a person wrote to keep a file out must not be without effect because of a slip.

pathspec's expressions also match whatever lies below what a pattern names. For git the way down decides
instead: folder by folder, and what is in a folder that is kept out is never looked at. So a pattern has to
match nothing but what it names (`_exact`), otherwise `!/a` would let in `a/b` that `b/` keeps out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from itertools import accumulate

from engine.errors import InputError


class Patterns:
    """Patterns of one file or option; the last one that matches decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises InputError that names the first line that is no pattern, counted from 1."""
        numbered = enumerate(lines, 1)
        found = [p for number, line in numbered for p in _compiled(number, line.rstrip("\r\n"))]
        self._last_first = found[::-1]

    def about(self, name: str) -> bool | None:
        """Whether `name` itself is kept out (True), let in (False), or not named. Folders end with `/`."""
        return next((keeps_out for keeps_out, exact in self._last_first if exact.match(name)), None)

    def about_way(self, name: str) -> bool | None:
        """The same for a file and the folders it is in: one that is kept out keeps out all below it."""
        found: bool | None = None
        for part in accumulate(name.split("/"), lambda folder, part: f"{folder}/{part}"):
            answer = self.about(part if part == name else f"{part}/")
            if answer is not None:
                found = answer
            if found:
                break
        return found


def _compiled(number: int, line: str) -> list[tuple[bool, re.Pattern[str]]]:
    from pathspec import GitIgnoreSpec  # the start of a server without patterns is faster

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `[[:alpha:]]` would be taken for something else
            patterns = GitIgnoreSpec.from_lines([line]).patterns
    except (ValueError, re.error, Warning):
        raise _not_a_pattern(number, line) from None
    found = [(p.include, _exact(p.regex.pattern)) for p in patterns if p.include is not None and p.regex]
    if line.strip() and not line.startswith("#") and not found:
        raise _not_a_pattern(number, line)
    return found


def _exact(expression: str) -> re.Pattern[str]:
    """An expression that matches what pathspec's does, without what is below that."""
    if expression == ".":
        return re.compile("")
    if expression == "(?P<ps_d>/)":
        return re.compile(r".*/\Z", re.DOTALL)
    # `a/**` names what is in `a`, and not `a`.
    return re.compile(f"{expression}." if expression.endswith("/") else rf"(?:{expression})\Z")


def _not_a_pattern(number: int, line: str) -> InputError:
    return InputError(f"line {number} is not a pattern of gitignore's syntax: {line.strip()[:60]!r}")
