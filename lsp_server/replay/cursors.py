"""What kind of place a cursor stands in. The kinds exclude each other; the first that holds counts."""

from __future__ import annotations

from typing import Literal

CursorClass = Literal["mid-line", "indentation", "string", "after a dot", "inside a name", "word start"]
CLASSES: tuple[CursorClass, ...] = (
    "word start", "inside a name", "after a dot", "string", "indentation", "mid-line",
)  # fmt: skip


def cursor_class(text: str, offset: int) -> CursorClass:
    """The class of the cursor before character `offset` of `text`."""
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    end = text.find("\n", offset)
    rest = text[offset : end if end >= 0 else len(text)]
    if rest.strip():
        return "mid-line"
    if not line.strip():
        return "indentation"
    if _in_string(line):
        return "string"
    if line.endswith("."):
        return "after a dot"
    return "inside a name" if line[-1].isalnum() or line[-1] == "_" else "word start"


def _in_string(line: str) -> bool:
    """Whether a quote is open at the end of `line`. Strings over several lines are not known here."""
    quote = ""
    escaped = False
    for char in line:
        if escaped:
            escaped = False
        elif quote and char == "\\":
            escaped = True
        elif char == quote:
            quote = ""
        elif not quote and char in "\"'`":
            quote = char
        elif not quote and char == "#":
            return False
    return bool(quote)
