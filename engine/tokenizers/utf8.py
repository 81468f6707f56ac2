"""UTF-8 text that may end inside a character."""

from __future__ import annotations


def partial_length(text: bytes) -> int:
    """Number of bytes at the end of `text` that begin a UTF-8 character but do not end it (0 to 3)."""
    for back in range(1, min(3, len(text)) + 1):
        lead = text[-back]
        if lead >= 0xC0:
            return back if completion_span(text[-back:]) else 0
        if lead < 0x80:
            return 0
    return 0


def completion_span(partial: bytes) -> tuple[int, int] | None:
    """First and last code point whose UTF-8 bytes start with `partial`, None if there is none."""
    lead = partial[0]
    size = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 0
    if len(partial) >= size:
        return None
    bits = lead & (0x7F >> size)
    for byte in partial[1:]:
        bits = bits << 6 | (byte & 0x3F)
    missing = 6 * (size - len(partial))
    low = max(bits << missing, (0, 0, 0x80, 0x800, 0x10000)[size])
    high = min(((bits + 1) << missing) - 1, 0x10FFFF)
    if low >= 0xD800 and high <= 0xDFFF:
        return None
    return (low, high) if low <= high else None


def continuing_bytes(partial: bytes) -> tuple[int, int]:
    """The first and the last byte that go on with the UTF-8 beginning `partial`; all between them do."""
    span = completion_span(partial)
    assert span is not None, partial
    low, high = span
    if low < 0xD800 <= high <= 0xDFFF:
        high = 0xD7FF
    return chr(low).encode()[len(partial)], chr(high).encode()[len(partial)]
