"""LSP columns ↔ byte columns of one line, in the three encodings of LSP 3.17. Nowhere else.

An LSP column counts code units of the negotiated encoding; a byte column counts bytes of the line's
UTF-8. `content` is always a line without its line end. Take `a😀b`: its columns are

    character      a    😀    b    (end)
    utf-8          0    1     5    6
    utf-16         0    1     3    4
    utf-32         0    1     2    3

A column inside a character is moved to that character's start, one past the end to the end (the
specification demands the latter), so that every answer is a character boundary.
"""

from __future__ import annotations

from typing import Literal

Encoding = Literal["utf-8", "utf-16", "utf-32"]

_CODECS: dict[Encoding, tuple[str, int]] = {
    "utf-8": ("utf-8", 1),
    "utf-16": ("utf-16-le", 2),
    "utf-32": ("utf-32-le", 4),
}


def to_byte_column(content: bytes, column: int, encoding: Encoding) -> int:
    """Bytes of `content` before `column` code units of `encoding`."""
    if content.isascii():
        return min(column, len(content))
    codec, unit_bytes = _CODECS[encoding]
    units = content.decode().encode(codec)[: column * unit_bytes]
    # "ignore" drops the half character that a cut may have left at the end, and nothing else.
    return len(units.decode(codec, "ignore").encode())


def to_column(content: bytes, byte_column: int, encoding: Encoding) -> int:
    """Code units of `encoding` in the first `byte_column` bytes of `content`."""
    before = content[:byte_column]
    if before.isascii():
        return len(before)
    codec, unit_bytes = _CODECS[encoding]
    return len(before.decode("utf-8", "ignore").encode(codec)) // unit_bytes
