"""What may be shown of the bytes that a model says: written from the rules, not from `engine.stop`."""

from __future__ import annotations

from engine.types import Request, StopReason


def shown(request: Request, raw: bytes) -> tuple[bytes, StopReason | None]:
    """The part of `raw` to show, and why nothing may come after it (None: more may).

    Bytes that no text has are an end of the middle.
    """
    begun = unfinished(request.prefix)
    text = raw
    ended: StopReason | None = None
    lines = raw.split(b"\n")
    if len(lines) > request.max_lines:
        text, ended = b"\n".join(lines[: request.max_lines]), "lines"
    valid = (begun + text).decode("utf-8", "surrogateescape")
    whole = next((k for k, char in enumerate(valid) if "\udc80" <= char <= "\udcff"), len(valid))
    kept = valid[:whole].encode()
    if whole < len(valid) and unfinished(begun + text) != (begun + text)[len(kept) :]:
        ended = "end-of-middle"
    text = kept[len(begun) :]
    return text.rstrip(b"\r"), ended


def unfinished(text: bytes) -> bytes:
    """The beginning of a character at the end of `text`."""
    for size in (1, 2, 3):
        start = text[-size:]
        if len(start) == size and start[0] >= 0xC0 and any(_is_character(start + end) for end in _ENDS):
            return start
    return b""


_ENDS = [bytes([first, *[0x80] * more]) for first in range(0x80, 0xC0) for more in (0, 1, 2)]


def _is_character(raw: bytes) -> bool:
    try:
        return len(raw.decode()) == 1
    except UnicodeDecodeError:
        return False
