"""Filters between the engine's text and the screen. Pure functions over bytes; golden tests each.

A filter may shorten a completion or refuse it. It never touches the user's text, and it cuts only at
the completion's end: a filter that removes *any* overlap eats real characters (`x.hel` + `lo()` became
`x.helo()` in a peer).
"""

from __future__ import annotations

_CLOSERS = {b")"[0]: b"("[0], b"]"[0]: b"["[0], b"}"[0]: b"{"[0]}


def rest_of_line(suffix: bytes) -> bytes:
    """What stands between the cursor and the end of its line."""
    lines = suffix.splitlines()
    return lines[0] if lines else b""


def cut_repeated_rest(text: bytes, suffix: bytes) -> bytes:
    """`text` without an end that repeats the entire, non-blank rest of the line.

    `a, b)` before `)` becomes `a, b`. The whole rest must be there, not a part of it: with `lo()` after
    the cursor, `l` is kept. And it must be a repetition: `nt(x)` before `)` closes a bracket that it
    opened itself, and is kept.
    """
    rest = rest_of_line(suffix).strip()
    if not rest or not text.rstrip().endswith(rest):
        return text
    kept = text.rstrip()[: -len(rest)]
    return text if _closes_bracket_of(rest, kept) else kept


def drop_blank(text: bytes) -> bytes:
    """Nothing if `text` shows nothing: it is empty or white space only."""
    return text if text.strip() else b""


def shown_text(text: bytes, suffix: bytes) -> bytes:
    """What to show of the engine's `text` before `suffix`; empty when there is nothing to show."""
    return drop_blank(cut_repeated_rest(text, suffix))


def _closes_bracket_of(end: bytes, start: bytes) -> bool:
    """Whether a bracket opened in `start` is closed in `end`. Strings and comments are not known here."""
    opened: list[int] = []
    for place, byte in enumerate(start + end):
        if byte in _CLOSERS.values():
            opened.append(place)
        elif byte in _CLOSERS and opened and opened.pop() < len(start) <= place:
            return True
    return False
