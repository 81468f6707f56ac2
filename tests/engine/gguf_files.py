"""Small GGUF files, written by the format's definition (ggml-org/ggml, docs/gguf.md)."""

from __future__ import annotations

import struct
from typing import Any

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value: Any) -> bytes:
    if kind == 8:
        return _string(value)
    if kind == 9:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(_value(element, item) for item in items)
    return struct.pack("<" + _FORMATS[kind], value)


def gguf_bytes(
    pairs: dict[str, tuple[int, Any]] | None = None,
    tensors: dict[str, tuple[int, tuple[int, ...], bytes]] | None = None,
) -> bytes:
    """A GGUF of `name: (type, value)` pairs and `name: (type, shape, weights)` tensors, alignment 32."""
    pairs = {"general.architecture": (8, "llama")} if pairs is None else pairs
    tensors = {"token_embd.weight": (0, (4, 2), bytes(range(32)))} if tensors is None else tensors
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    head += b"".join(
        _string(key) + struct.pack("<I", kind) + _value(kind, value) for key, (kind, value) in pairs.items()
    )
    body = b""
    for name, (kind, shape, weights) in tensors.items():
        body += b"\0" * (-len(body) % 32)
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(body))
        body += weights
    return head + b"\0" * (-len(head) % 32) + body
