"""The open documents: text as UTF-8 lines, edited in place.

A document is a list of lines, each with its line end, the last without one (it may be empty), so
that joining the list gives the text. Lines end at `\\n`, `\\r\\n` and `\\r` only, as LSP says;
`bytes.splitlines` has exactly this rule, `str.splitlines` has not (form feed, U+2028, …).

An edit replaces the lines it touches. That costs the touched bytes plus moving the list's pointers:
a keystroke in a file of 1 MB and 25,000 lines stays far below a millisecond, without a rope.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import InputError
from lsp_server.positions import Encoding, to_byte_column, to_column
from lsp_server.reasons import Reason
from lsp_server.text_kinds import kind_by_text
from lsp_server.windows import Place, closed_lines, place_in

LARGE_EDIT_CHARS = 1000
"""What is pasted may be of another kind than what was there; what is typed is not."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place as LSP counts it: zero-based line, and column in code units."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the text from `start` to `end` by `text`; without positions, replace everything."""

    text: str
    start: Position | None = None
    end: Position | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """What an edit replaced. Places are line and byte column."""

    start: tuple[int, int]
    old_end: tuple[int, int]
    new_end: tuple[int, int]


@dataclass(slots=True)
class Document:
    """One open document. Only the session changes it."""

    uri: str
    version: int
    language: str = ""
    """The client's `languageId`."""
    size_bytes: int = 0
    kind: Reason | None = None
    """Why nobody types such a text (`text_kinds`), as of its last full text or large edit; None if not so."""
    lines: list[bytes] = field(default_factory=lambda: [b""])
    broken: str | None = None
    """Why the text is not known (a refused edit), until it is sent in full again."""
    edited: tuple[int, int] | None = None
    """Line and byte column behind the last edit, where the cursor most likely is; None after a full text."""

    def replace(self, text: str) -> None:
        """Set the whole text. Raises InputError for a lone surrogate and marks the document broken."""
        encoded = self._encode(text)
        self.lines = closed_lines(encoded)
        self.size_bytes = len(encoded)
        self.broken = self.edited = None
        self.kind = kind_by_text(self.lines)

    def apply(self, edit: Edit, encoding: Encoding) -> Span | None:
        """Apply one edit; positions past the end mean the end, as in other language servers.

        Returns what it replaced, None if that is everything.
        Raises InputError for a lone surrogate, and for any edit but a full one of a broken document.
        """
        if edit.start is None or edit.end is None:
            self.replace(edit.text)
            return None
        if self.broken:
            raise InputError(self.broken)
        ends = sorted((self.locate(edit.start, encoding), self.locate(edit.end, encoding)))
        (first, first_byte), (last, last_byte) = ends
        kept = self.lines[last][last_byte:]
        end = self._splice(first, last, self.lines[first][:first_byte] + self._encode(edit.text) + kept)
        self.edited = end, len(self.lines[end]) - len(kept)
        if self.kind is not None or len(edit.text) >= LARGE_EDIT_CHARS:
            self.kind = kind_by_text(self.lines)
        return Span(ends[0], ends[1], self.edited)

    def place(self, position: Position, encoding: Encoding) -> Place:
        """What the engine is shown around `position`; costs a window, however long the text is.

        Raises InputError if the line does not exist, or the document is broken.
        """
        if self.broken:
            raise InputError(self.broken)
        if position.line >= len(self.lines):
            raise InputError(f"line {position.line} of a document of {len(self.lines)} lines (from 0)")
        return self.place_at(*self.locate(position, encoding))

    def place_at(self, line: int, byte_column: int) -> Place:
        """What the engine is shown around byte `byte_column` of `line`."""
        return place_in(self.uri, self.lines, line, byte_column)

    def position(self, line: int, byte_column: int, encoding: Encoding) -> Position:
        """The position of byte `byte_column` of `line`; inside a line end it is that of the line end."""
        return Position(line, to_column(_content(self.lines[line]), byte_column, encoding))

    def _encode(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            self.broken = (
                f"the document holds the lone surrogate U+{ord(text[error.start]):04X}, which no UTF-8 file "
                "can; completion is off for it until the editor sends its whole text again"
            )
            raise InputError(self.broken) from None

    def locate(self, position: Position, encoding: Encoding) -> tuple[int, int]:
        """Line and byte column of `position`; what is past the end is the end."""
        if position.line >= len(self.lines):
            return len(self.lines) - 1, len(self.lines[-1])
        content = _content(self.lines[position.line])
        return position.line, to_byte_column(content, position.column, encoding)

    def _splice(self, first: int, last: int, block: bytes) -> int:
        """Put `block` in place of the lines `first` to `last`. Returns the number of its last line."""
        # A `\n` may now follow the `\r` that ended the line before: they are one line end. At the other
        # seam nothing can meet, because `block` ends with the whole line end of `last`.
        if first > 0 and self.lines[first - 1].endswith(b"\r"):
            first -= 1
            block = self.lines[first] + block
        is_last = last + 1 == len(self.lines)
        lines = closed_lines(block) if is_last else block.splitlines(keepends=True)
        self.size_bytes += len(block) - sum(map(len, self.lines[first : last + 1]))
        self.lines[first : last + 1] = lines
        return first + len(lines) - 1


def _content(line: bytes) -> bytes:
    return line.rstrip(b"\r\n")
