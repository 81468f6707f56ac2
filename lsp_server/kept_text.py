"""How much of an accepted text is still there a while later: its characters, followed through the edits.

An accepted text is held as *pieces*: bytes on one line, at a line and byte column. Line ends are no part of
it, since editors write their own. An edit moves the pieces behind it and cuts those it touches. Everything
is in memory, and forgotten once it is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lsp_server.documents import Span

MOST_EDITS_BEFORE = 8
"""The insertion comes before the acceptance is told, or among the next few edits, or never."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one line, without its end."""

    text: bytes
    line: int
    column: int
    """In bytes."""

    def is_in(self, lines: Sequence[bytes]) -> bool:
        """Whether the document has these bytes at this place."""
        if self.line >= len(lines):
            return False
        return lines[self.line][self.column : self.column + len(self.text)] == self.text


def pieces_of(text: bytes, line: int, column: int) -> list[Piece]:
    """The pieces of `text` inserted before byte `column` of `line`; blank ones count for nothing."""
    parts = text.splitlines()
    found = [Piece(part, line + down, 0 if down else column) for down, part in enumerate(parts)]
    return [piece for piece in found if piece.text.strip()]


def moved(pieces: Iterable[Piece], span: Span) -> list[Piece]:
    """What is left of the pieces after an edit, and where."""
    return [part for piece in pieces for part in _parts(piece, span)]


def _parts(piece: Piece, span: Span) -> list[Piece]:
    start, end = (piece.line, piece.column), (piece.line, piece.column + len(piece.text))
    if end <= span.start:
        return [piece]
    parts: list[Piece] = []
    if start < span.start:
        parts.append(Piece(piece.text[: span.start[1] - piece.column], piece.line, piece.column))
    if end > span.old_end:
        gone = span.old_end[1] - piece.column if start < span.old_end else 0
        line, column = _place_after(max(start, span.old_end), span)
        parts.append(Piece(piece.text[gone:], line, column))
    return parts


def _place_after(place: tuple[int, int], span: Span) -> tuple[int, int]:
    """Where a place at or behind the end of the edit is afterwards."""
    line, column = place
    if line == span.old_end[0]:
        return span.new_end[0], span.new_end[1] + column - span.old_end[1]
    return line + span.new_end[0] - span.old_end[0], column


def chars_in(pieces: Iterable[Piece], lines: Sequence[bytes] | None = None) -> int:
    """Characters of the pieces; with `lines` only of those that the document has in their place."""
    held = (piece for piece in pieces if lines is None or piece.is_in(lines))
    return sum(len(piece.text.decode("utf-8", "ignore")) for piece in held)


class KeptText:
    """One accepted text, from its acceptance on."""

    def __init__(self, text: bytes, line: int, column: int) -> None:
        self.pieces = pieces_of(text, line, column)
        self.chars = chars_in(self.pieces)
        """Of the whole text."""
        self.is_there = False
        """Whether the insertion has been seen."""
        self._edits_before = 0

    def look(self, lines: Sequence[bytes]) -> None:
        """See whether the text has been inserted by now."""
        self.is_there = self.is_there or bool(self.pieces and self.pieces[0].is_in(lines))

    def edited(self, span: Span | None, lines: Sequence[bytes]) -> None:
        """An edit was made; None if the whole text was sent anew."""
        if not self.is_there:
            self._edits_before += 1
            if self._edits_before <= MOST_EDITS_BEFORE:
                self.look(lines)
        elif span is not None:
            self.pieces = moved(self.pieces, span)
        else:
            self.pieces = [piece for piece in self.pieces if piece.is_in(lines)]

    def kept_chars(self, lines: Sequence[bytes]) -> int:
        """Characters that are still there."""
        return chars_in(self.pieces, lines) if self.is_there else 0
