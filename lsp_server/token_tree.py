"""Covers as a tree of tokens, for people: the same beginnings drawn once, the likeliest branch first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.covers import STOP
from engine.explain import ExplainedCover

_VISIBLE = {0x20: "␣", 0x0A: "⏎", 0x0D: "␍", 0x09: "⇥"}


@dataclass(frozen=True, slots=True)
class Branch:
    """A token, what it and everything below it hold of P(tail), and whether a cover ends with it."""

    token: bytes
    share: float
    ends: bool
    overhang: bytes
    """What of the token lies behind the cursor."""
    children: tuple[Branch, ...]


def branches(covers: Sequence[ExplainedCover], depth: int = 0) -> tuple[Branch, ...]:
    """The tree below the first `depth` tokens, which all `covers` share."""
    groups: dict[bytes, list[ExplainedCover]] = {}
    for cover in covers:
        if len(cover.tokens) > depth:
            groups.setdefault(cover.tokens[depth], []).append(cover)
    found = []
    for token, group in groups.items():
        ending = [cover for cover in group if len(cover.tokens) == depth + 1]
        overhang = ending[0].overhang if ending else b""
        children = branches(group, depth + 1)
        share = sum(cover.share for cover in group)
        found.append(Branch(token[: len(token) - len(overhang)], share, bool(ending), overhang, children))
    return tuple(sorted(found, key=lambda branch: -branch.share))


def shown(text: bytes) -> str:
    """`text` with its white space visible and bytes that are no text in hexadecimal."""
    decoded = text.decode("utf-8", "backslashreplace")
    return "".join(_VISIBLE.get(ord(c), c if c.isprintable() else f"\\x{ord(c):02x}") for c in decoded)


def symbol_name(symbol: int) -> str:
    """A byte value as text, or the end of the middle."""
    return "end" if symbol == STOP else shown(bytes([symbol]))


def percent(share: float) -> str:
    """A share for reading: `98.7 %`, `0.13 %`, and `2e-7` where a percentage would be zeros."""
    return f"{100 * share:.3g} %" if share >= 1e-4 or share == 0 else f"{share:.0e}"
