"""The simulated editor's text: a string, edits at offsets, undo. Positions in UTF-16, as editors count."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """Replace the text between two positions (line, UTF-16 column), as didChange tells it."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str


class Buffer:
    """A document with one cursor. Its own small implementation: it checks the server's, so it shares none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.cursor = 0
        self.version = 1
        self._history: list[tuple[int, str, str]] = []

    def edit(self, removed_before: int, inserted: str) -> Change:
        """Remove characters before the cursor and insert there; the cursor ends up behind."""
        start = self.cursor - removed_before
        self._history.append((start, self.text[start : self.cursor], inserted))
        return self._replace(start, self.cursor, inserted)

    def undo(self) -> Change:
        """Take back the last edit."""
        start, removed, inserted = self._history.pop()
        return self._replace(start, start + len(inserted), removed)

    def position(self, offset: int | None = None) -> tuple[int, int]:
        """Line and UTF-16 column of an offset, or of the cursor."""
        offset = self.cursor if offset is None else offset
        before = self.text[:offset]
        line_start = before.rfind("\n") + 1
        column = len(before[line_start:].encode("utf-16-le")) // 2
        return before.count("\n"), column

    def _replace(self, start: int, end: int, inserted: str) -> Change:
        change = Change(self.position(start), self.position(end), inserted)
        self.text = self.text[:start] + inserted + self.text[end:]
        self.cursor = start + len(inserted)
        self.version += 1
        return change
