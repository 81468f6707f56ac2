"""What of a document the engine is shown: a window around the cursor that stays put while one works there.

When the start of the window moves, the engine has to evaluate the whole prompt again. So the start depends
on little: not on what is typed on the cursor's line, and not on how much text stands above the window.

Definition. The *mark* of a line is a checksum of it; short lines, which are often repeated, have marks above
all others. The window starts at the line of least mark among those that begin between half of `most` and
`most` bytes above the cursor's line, the lowest of several; at the document's top if that is nearer.

Claim. While the cursor moves down, the start never moves up, and it moves only when a line of lower mark
comes into reach or the start itself leaves it: with n lines in reach about once in n/2 lines. Proof: the
reach slides down, so lines that enter it lie below the start, and lines above the start leave before it.
An edit outside of the window changes no mark in reach. (The selection is winnowing: Schleimer, Wilkerson and
Aiken, "Winnowing: Local Algorithms for Document Fingerprinting", SIGMOD 2003.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from engine.types import SHOWN_PREFIX_BYTES, SHOWN_SUFFIX_BYTES

LINE_BYTES = 1024
"""A cursor further than this from the start of its line is shown nothing above that line."""
ABOVE_BYTES = SHOWN_PREFIX_BYTES - LINE_BYTES
"""Most bytes shown above the cursor's line."""
_STEP_BYTES = 1024
"""The window's start inside a very long line moves in steps of this size."""
_SHORT_BYTES = 12


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor, as far as the engine can see it. At equal places the engine says the same."""

    uri: str
    above: bytes
    """The shown lines above the cursor's line, each with its line end."""
    line: bytes
    """The cursor's line before the cursor; without its beginning if that is far away."""
    suffix: bytes
    """The rest of the line and the shown lines below."""
    at_top: bool = False
    """Whether `above` starts where the document does."""

    @property
    def prefix(self) -> bytes:
        """What is shown before the cursor."""
        return self.above + self.line

    def after(self, text: bytes) -> Place:
        """The place once `text` has been typed here: the same that the document would give then.

        (By the claim above the new start is not above the old one, so `above` holds all that is needed.
        Only a line longer than LINE_BYTES may be shown differently.)
        """
        lines = closed_lines(self.prefix + text)
        number = len(lines) - 1
        start = window_start(lines, number, ABOVE_BYTES, from_top=self.at_top)
        return _place(replace(self, at_top=self.at_top and start == 0), lines[start:-1], lines[-1])

    def narrowed(self, most: int) -> Place:
        """The place with at most `most` bytes above the line: cheap where nothing is resident."""
        lines = self.above.splitlines(keepends=True)
        start = window_start(lines, len(lines), most, from_top=self.at_top)
        return replace(self, above=b"".join(lines[start:]), at_top=self.at_top and start == 0)


def typed_between(start: Place, end: Place, text: bytes) -> bytes | None:
    """The bytes that lead from `start` to `end`; None if another line than those of `text` was ended."""
    heads = [b"", *(text[: at + 1] for at, byte in enumerate(text) if byte == ord("\n"))]
    for head in heads:
        place = start.after(head) if head else start
        around = (place.uri, place.above, place.suffix)
        if around == (end.uri, end.above, end.suffix) and end.line.startswith(place.line):
            return head + end.line[len(place.line) :]
    return None


def place_in(uri: str, lines: Sequence[bytes], number: int, column: int) -> Place:
    """The place before byte `column` of line `number`. Looks at and copies no more than a window."""
    start = window_start(lines, number, ABOVE_BYTES)
    suffix = window_below(lines, number, column)
    whole = Place(uri, b"", b"", suffix, at_top=start == 0)
    return _place(whole, lines[start:number], lines[number][:column])


def _place(place: Place, above: Sequence[bytes], line: bytes) -> Place:
    if len(line) <= LINE_BYTES:
        return replace(place, above=b"".join(above), line=line)
    cut = -(-max(0, len(line) - SHOWN_PREFIX_BYTES) // _STEP_BYTES) * _STEP_BYTES
    return replace(place, above=b"", line=line[_char_start(line, cut) :], at_top=False)


def window_start(lines: Sequence[bytes], number: int, most: int, *, from_top: bool = True) -> int:
    """Index of the first line shown above line `number` (`number` itself: none), as defined above.

    `lines` begins with the document's first line, or with some window's first (then `from_top` is False).
    """
    reach = 0
    highest = number
    best: tuple[int, int] | None = None
    for index in range(number - 1, -1, -1):
        reach += len(lines[index])
        if reach > most:
            break
        highest = index
        if 2 * reach >= most and (best is None or _mark(lines[index]) < best[0]):
            best = _mark(lines[index]), index
    else:
        if from_top:
            return 0
    return best[1] if best else highest


def window_below(lines: Sequence[bytes], number: int, column: int) -> bytes:
    """What follows byte `column` of line `number`: the rest of the line, and whole lines as they fit."""
    rest = lines[number][column : column + SHOWN_SUFFIX_BYTES + 1]
    if len(rest) > SHOWN_SUFFIX_BYTES:
        return rest[: _char_start(rest, SHOWN_SUFFIX_BYTES - 3)]
    size, end = len(rest), number + 1
    while end < len(lines) and size + len(lines[end]) <= SHOWN_SUFFIX_BYTES:
        size += len(lines[end])
        end += 1
    return rest + b"".join(lines[number + 1 : end])


def closed_lines(text: bytes) -> list[bytes]:
    """The lines of `text` with their line ends (LSP's: `\\n`, `\\r\\n`, `\\r`), and the last without one."""
    lines = text.splitlines(keepends=True)
    if not lines or lines[-1].endswith((b"\r", b"\n")):
        lines.append(b"")
    return lines


def _mark(line: bytes) -> int:
    return crc32(line) + (len(line.strip()) < _SHORT_BYTES) * 2**32


def _char_start(text: bytes, position: int) -> int:
    """The first position at or after `position` that is not inside a UTF-8 character."""
    while position < len(text) and text[position] & 0xC0 == 0x80:
        position += 1
    return position
